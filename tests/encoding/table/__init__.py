"""The table `encoding` held against what really comes out: drawn records, the collector, and the truth."""
