"""The networks: a ResNet with coordinate heads (paper, sections 3.1 and 3.3), and a network as a folder.

* `resnet`, `dense`, `pmd_net`: the backbone; a head; heads, refine module and the whole network.
* `spatial`, `map_positions`: what heads can read in place of the averaged feature (beyond the paper).
* `network`: structure apart from weights: `build`, `Network`, `Weights`.
* `saved_model`, `description`: a trained network as a folder, and back; the folder's JSON, read without JAX.
* `onnx_graph`: the same network for ONNX Runtime.
* `winograd`, `fold_batch_norm`, `dtypes`: how the same numbers are computed faster.
"""
