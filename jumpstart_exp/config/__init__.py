"""From the command line to cells: schema, errors, expansion, composition, studies."""
