"""Pure functions of arrays and grids: nothing is drawn or written here."""
