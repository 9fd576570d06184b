"""The report: figures and tables as a pure function of the store."""
