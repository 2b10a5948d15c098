"""Planning (pure), executing, and what it cost."""
