"""Which tables a query reads, told from its words.

DuckDB's `get_table_names` says the same and takes a millisecond or more per page: too long for rules that a command
does not even serve. The tests hold both against each other on every built-in page; pages of the user's are asked of
DuckDB itself.
"""

from __future__ import annotations

import re

# Comments, strings and numbers are passed over.
_TOKEN = re.compile(r"--[^\n]*|/\*.*?\*/|'[^']*'|\d\w*|(\"[^\"]*\"|[A-Za-z_]\w*|[(),.])", re.DOTALL)
_ENDS = frozenset(("select", "where", "group", "having", "order", "limit", "qualify", "window"))
_ENDS |= {"union", "intersect", "except"}
_OPENS = frozenset(("select", "with", "from", "values"))


def tables_read(sql: str) -> frozenset[str]:
    """The tables that stand after FROM or JOIN in `sql`, in lower case, without its common table expressions."""
    found: set[str] = set()
    named: set[str] = set()  # WITH name AS (...)
    levels: list[tuple[bool, bool, str]] = []
    query, listing, expected = True, False, False  # in a query (not in arguments); in its FROM clause; at a table
    last = fresh = alias = opener = ""  # the word before; a table just found; what stood before AS; before the bracket
    for token in _TOKEN.findall(sql):
        if not token:
            continue
        word = token.lower()
        if word == "(":
            if last in ("as", "materialized"):
                named.add(alias)
            found.discard(fresh)  # a table function
            levels.append((query, listing, last))
            query = listing = expected
        elif word == ")":
            if levels:
                query, listing, opener = levels.pop()
            expected = False
        elif last == "(" and word in _OPENS:
            query, listing, expected = True, False, word == "from"
        elif word == ",":
            expected = listing
        elif word == "from":
            if query and last != "distinct":  # IS DISTINCT FROM
                listing = expected = True
        elif word == "join":
            expected = True
        elif word == "as":
            alias = opener if last == ")" else last
        elif word == "." and fresh:  # that was the schema
            found.discard(fresh)
            expected = True
        elif expected and word != "lateral":
            expected = False
            last = word.strip('"')
            fresh = "" if last in found else last
            found.add(last)
            continue
        elif word in _ENDS:
            listing = False
        last, fresh = word, ""
    return frozenset(found - named)
