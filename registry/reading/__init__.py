"""A catalog file read strictly: text to nodes, nodes to typed entries, every fault with its place."""
