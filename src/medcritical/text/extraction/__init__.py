"""Steps of reading an answer out of a response: isolate what belongs to the item, then read what it commits to."""
