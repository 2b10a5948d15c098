"""Medical exam questions from files: one loader per upstream format, splits, recorded teachers, contamination."""
