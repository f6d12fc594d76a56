"""Reading training records: containers (JSON array, JSON lines, broken ones), dialects, and what a trainer does with each record."""
