"""Typed configuration: what a key means, its type and its range. Defaults live in `conf/`, never here."""
