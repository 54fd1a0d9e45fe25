"""The networks: a ResNet with coordinate heads (paper, sections 3.1 and 3.3), and a network as a folder.

* `resnet`, `pmd_net`: the backbone; heads, refine module and the whole network.
* `network`: structure apart from weights: `build`, `Network`, `Weights`.
* `saved_model`: a trained network as a folder, and back.
* `winograd`, `fold_batch_norm`, `row_parts`, `dtypes`: how the same numbers are computed faster.
"""
