"""Names of methods and attributes that mean something to the abstract run."""

from __future__ import annotations

# Methods of nn.Module that return the module itself.
RETURN_SELF = frozenset(
    [
        "apply",
        "bfloat16",
        "cpu",
        "cuda",
        "double",
        "eval",
        "float",
        "half",
        "ipu",
        "requires_grad_",
        "share_memory",
        "to",
        "to_empty",
        "train",
        "type",
        "xpu",
    ]
)
# Methods of nn.Module that are called to change its weights or layers.
TOUCH = frozenset(
    [
        "add_module",
        "apply",
        "children",
        "load_state_dict",
        "modules",
        "named_children",
        "named_modules",
    ]
)
# Attributes and methods of a tensor that give no tensor.
NO_TENSOR = frozenset(
    [
        "device",
        "dim",
        "dtype",
        "element_size",
        "get_device",
        "grad",
        "grad_fn",
        "is_cuda",
        "layout",
        "names",
        "ndim",
        "ndimension",
        "nelement",
        "numel",
        "requires_grad",
        "shape",
        "size",
        "storage",
        "stride",
        "backward",
        "register_hook",
    ]
)
# Methods that only training code calls.
TRAINS = frozenset(("backward", "step", "manual_backward", "fit"))
# Methods of unknown objects that return the models they are given.
WRAPS = frozenset(("prepare", "prepare_model", "setup", "setup_module", "initialize"))
