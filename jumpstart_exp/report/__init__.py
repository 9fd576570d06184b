"""The report: figures as a pure function of the store."""
