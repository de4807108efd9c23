"""Verification: whether records are whole, belong to their keys, agree with what lies beside them, and make the tables
that a report shows. Nothing here is used by reports, and nothing here stops at the first problem."""
