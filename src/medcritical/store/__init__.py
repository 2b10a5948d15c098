"""Content-addressed artefacts: a folder per result, named by the hash of what made it."""

from medcritical.store.artefact import ArtefactRef, Costs, Manifest, Store
from medcritical.store.environment import Environment
from medcritical.store.jsonl import iter_records, read_json, read_records, record_files, write_json, write_records

__all__ = [
    "ArtefactRef",
    "Costs",
    "Environment",
    "Manifest",
    "Store",
    "iter_records",
    "read_json",
    "read_records",
    "record_files",
    "write_json",
    "write_records",
]
