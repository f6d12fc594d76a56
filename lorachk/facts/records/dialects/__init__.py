"""How a record is written: one module per group of dialects. `lorachk.facts.records.dialect` is the way in."""
