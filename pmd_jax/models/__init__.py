"""The networks: ResNet backbone, coordinate heads, refine branch."""
