"""What a cell is made of, as data."""
