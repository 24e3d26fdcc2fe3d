from __future__ import annotations


def test_a_module_class_is_a_model(found):
    assert found("import torch.nn as nn\nclass Net(nn.Module):\n    pass\n").keys() == {"Net"}
