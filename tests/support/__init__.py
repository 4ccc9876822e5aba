"""What the tests share: trees as data, hand-made tar bytes, stock tools, ways to drive an engine."""
