"""Reading training records: containers, broken ones among them, dialects, what a trainer makes of a record."""
