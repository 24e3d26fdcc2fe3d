from __future__ import annotations

import pytest

from nnlint.linter.discover import UNKNOWN

CE = "torch.nn.CrossEntropyLoss"
F_CE = "torch.nn.functional.cross_entropy"


def sinks(target):
    return [use.sink for use in target.uses]


def only(target):
    assert len(target.uses) == 1, target.uses
    return target.uses[0]


@pytest.mark.parametrize(
    "text",
    [
        "model = Net()\ncriterion = nn.CrossEntropyLoss()\nloss = criterion(model(x), y)",
        "model = Net()\nout = model(x)\nloss = nn.CrossEntropyLoss()(out, y)",
        (
            "model = Net().to(d)\ncriterion = nn.CrossEntropyLoss().to(d)\nout = model(x)\n"
            "pred = out\nloss = criterion(pred, y)"
        ),
        "model = nn.DataParallel(Net()).cuda()\nloss = nn.CrossEntropyLoss()(model(x), y)",
        "model = torch.compile(Net())\nloss = nn.CrossEntropyLoss()(model.forward(x), y)",
        "model = nn.DataParallel(Net())\nloss = nn.CrossEntropyLoss()(model.module(x), y)",
        "model = copy.deepcopy(Net())\nloss = nn.CrossEntropyLoss()(model(x), y)",
        "models = {'a': Net()}\nloss = nn.CrossEntropyLoss()(models['a'](x), y)",
        "models = {}\nmodels['a'] = Net()\nloss = nn.CrossEntropyLoss()(models['a'](x), y)",
        (
            "criteria = {'c': nn.CrossEntropyLoss(), 'r': nn.MSELoss()}\nmodel = Net()\n"
            "loss = criteria['c'](model(x), y)"
        ),
        "make = nn.CrossEntropyLoss\nmodel = Net()\nloss = make()(model(x), y)",
        "model = Net()\nloss_fn = getattr(nn, 'CrossEntropyLoss')()\nloss = loss_fn(model(x), y)",
        "model = Net()\nloss = nn.CrossEntropyLoss()(input=model(x), target=y)",
        "model = Net()\nif (out := model(x)) is not None:\n    nn.CrossEntropyLoss()(out, y)",
        (
            "model, criterion = Net(), nn.CrossEntropyLoss()\nfor x, y in loader:\n"
            "    with torch.autocast('cuda'):\n        loss = criterion(model(x), y)"
        ),
        (
            "model = Net()\ncriterion = nn.CrossEntropyLoss()\ntotal = 0\nwhile True:\n"
            "    total += criterion(model(x), y).item()"
        ),
        (
            "model = Net()\ncriterion = nn.CrossEntropyLoss()\n"
            "losses = [criterion(model(x), y) for x, y in loader]"
        ),
        (
            "model = Net()\nmodel, opt = accelerator.prepare(model, opt)\n"
            "loss = nn.CrossEntropyLoss()(model(x), y)"
        ),
        "try:\n    model = Net()\nexcept OSError:\n    raise\nloss = nn.CrossEntropyLoss()(model(x), y)",
    ],
)
def test_the_output_is_followed_into_a_criterion_object(net, text):
    use = only(net(text))
    assert (use.sink, use.steps, use.slot) == (CE, (), 0)
    assert use.training
    assert use.certain


@pytest.mark.parametrize(
    "text",
    [
        "model = Net()\nF.cross_entropy(model(x), y)",
        "from torch.nn.functional import cross_entropy as ce\nmodel = Net()\nce(model(x), y)",
        "model = Net()\nloss_fn = F.cross_entropy\nloss_fn(model(x), y)",
        "model = Net()\nloss_fn = functools.partial(F.cross_entropy)\nloss_fn(model(x), y)",
        "model = Net()\nloss_fn = lambda out, y: F.cross_entropy(out, y)\nloss_fn(model(x), y)",
        "def loss_fn(out, y):\n    return F.cross_entropy(out, y)\nmodel = Net()\nloss_fn(model(x), y)",
        "def train(model, fn):\n    fn(model(x), y)\ntrain(Net(), F.cross_entropy)",
        "def train(model, fn=F.cross_entropy):\n    fn(model(x), y)\ntrain(model=Net())",
        "def train(fn, *models, **more):\n    fn(models[0](x), y)\ntrain(F.cross_entropy, Net())",
        "def train(**given):\n    given['fn'](given['net'](x), y)\ntrain(fn=F.cross_entropy, net=Net())",
        (
            "def main():\n    model = Net()\n    def step(x, y):\n        return F.cross_entropy(model(x), y)\n"
            "    engine.run(step)\nif __name__ == '__main__':\n    main()"
        ),
        (
            "def main():\n    model = Net()\n    @engine.on('step')\n    def step(x, y):\n"
            "        return F.cross_entropy(model(x), y)\n    engine.run()\nmain()"
        ),
        "model = Net()\ndef step():\n    return F.cross_entropy(model(x), y)\nopt.step(step)",
        "def train():\n    F.cross_entropy(model(x), y)\nmodel = Net()\ntrain()",
        "def train(model: Net):\n    F.cross_entropy(model(x), y)",
        "def train(model: 'Net', x):\n    F.cross_entropy(model(x), y)",
        "def train():\n    model = Net()\n    F.cross_entropy(model(x), y)",
        (
            "model = None\ndef build():\n    global model\n    model = Net()\nbuild()\n"
            "F.cross_entropy(model(x), y)"
        ),
        (
            "def outputs(model):\n    for x in loader:\n        yield model(x), y\n"
            "for out, y in outputs(Net()):\n    F.cross_entropy(out, y)"
        ),
        "nets = [Net(), Net()]\nfor net in nets:\n    F.cross_entropy(net(x), y)",
        "outs = []\nnet = Net()\nfor x in loader:\n    outs.append(net(x))\nF.cross_entropy(outs[0], y)",
    ],
)
def test_the_output_is_followed_into_a_functional_loss(net, text):
    use = only(net(text))
    assert (use.sink, use.steps, use.certain) == (F_CE, (), True)


@pytest.mark.parametrize(
    "text",
    [
        "criterion = nn.CrossEntropyLoss()\nmodel = Net()\nout = model(x)",
        "criterion = nn.CrossEntropyLoss()\nmodel = Net()\nout = model(x)\ncriterion(z, y)",
        "def train(model, x, y):\n    F.cross_entropy(model(x), y)",
        "def train(model, criterion):\n    criterion(model(x), y)\ntrain(Net(), load_criterion())",
        "model = load_model(Net)\nF.cross_entropy(model(x), y)",
        "model = Net()\nF.cross_entropy(unknown.call(model(x)), y)",
        "model = Net()\nF.cross_entropy(x, y, weight=model(x))",
        "model = Net()\nF.cross_entropy(model(x).shape[0], y)",
        "model = Net()\nloss = cross_entropy(model(x), y)",
        "def f(model):\n    return f(model)\nF.cross_entropy(f(Net()), y)",
    ],
)
def test_nothing_is_guessed_where_the_way_is_unknown(net, text):
    assert net(text).uses == ()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("out.clamp_(0.01, 0.99)", ["clamp_"]),
        ("out.data.clamp_(0.01, 0.99)", ["clamp_"]),
        ("out = out[0]\nout.data.clamp_(0.01)", ["0", "clamp_"]),
        ("out.clamp(0.01)", []),
        ("out.__len__()", []),
        ("out[0].clamp_(0.01)", []),
    ],
)
def test_a_change_in_place_stays_in_the_variable(net, change, names):
    text = f"model = Net()\nout = model(x)\n{change}\nF.cross_entropy(out, y)"
    assert [step.name for step in only(net(text)).steps] == names


@pytest.mark.parametrize(
    ("expression", "steps"),
    [
        ("out.view(-1, 10)", [("method", "view", (-1, 10), {})]),
        ("out.squeeze().float()", [("method", "squeeze", (), {}), ("method", "float", (), {})]),
        ("out.log()", [("method", "log", (), {})]),
        ("out.detach()", [("method", "detach", (), {})]),
        ("out.logits", [("attr", "logits", (), {})]),
        ("out['logits']", [("item", "'logits'", (), {})]),
        ("out[0]", [("item", "0", (), {})]),
        ("out[-1]", [("item", "-1", (), {})]),
        (
            "F.log_softmax(out, dim=1)",
            [("call", "torch.nn.functional.log_softmax", (), {"dim": 1})],
        ),
        ("torch.sigmoid(out)", [("call", "torch.sigmoid", (), {})]),
        ("torch.softmax(out, 1)", [("call", "torch.softmax", (1,), {})]),
        ("torch.squeeze(input=out, dim=k)", [("call", "torch.squeeze", (), {"dim": UNKNOWN})]),
        ("nn.Softmax(dim=1)(out)", [("call", "torch.nn.Softmax", (), {"dim": 1})]),
        ("soft(out)", [("call", "torch.nn.Softmax", (1,), {})]),
        (
            "nn.Sequential(nn.Flatten(), nn.Sigmoid())(out)",
            [("call", "torch.nn.Flatten", (), {}), ("call", "torch.nn.Sigmoid", (), {})],
        ),
        ("torch.cat([out, out])", [("call", "torch.cat", (), {})]),
        ("out / 2", [("call", "operator.truediv", (2,), {})]),
        ("-out", [("call", "operator.neg", (), {})]),
        ("act(out)", [("call", "torch.tanh", (), {})]),
        ("torch.autograd.Variable(out)", []),
        ("out.max(1)[0]", [("method", "max", (1,), {}), ("item", "0", (), {})]),
        ("numpy.exp(out)", [("call", "numpy.exp", (), {})]),
    ],
)
def test_what_happens_on_the_way_is_told_in_order(net, expression, steps):
    text = (
        "import numpy\nsoft = nn.Softmax(1)\n"
        "def act(v):\n    return torch.tanh(v)\n"
        f"model = Net()\nout = model(x)\nloss = F.mse_loss({expression}, y)\n"
    )
    use = next(use for use in net(text).uses if use.sink.endswith("mse_loss"))
    assert [(s.kind, s.name, s.args, dict(s.kwargs)) for s in use.steps] == steps


def test_items_carry_their_key(net):
    use = only(net("out = Net()(x)\nF.mse_loss(out[:, 0], y)"))
    assert use.steps[0].key == (slice(None), 0)
    assert only(net("out = Net()(x)\nF.mse_loss(out[mask], y)")).steps[0].key is UNKNOWN


def test_unpacking_is_an_item(net):
    target = net("a, (b, c), *d = Net()(x)\nF.mse_loss(a, y)\nF.l1_loss(c, y)")
    keys = [[step.key for step in use.steps] for use in target.uses]
    assert keys == [[0], [1, 1]]


def test_outputs_are_followed_through_dictionaries_and_tuples(net):
    text = (
        "model = Net()\ndef run():\n    out = model(x)\n    return {'pred': out, 'n': (1, out)}\n"
        "res = run()\nF.mse_loss(res['pred'], y)\nF.l1_loss(res['n'][1], y)\nF.l1_loss(res['n'][0], y)"
    )
    assert sinks(net(text)) == ["torch.nn.functional.mse_loss", "torch.nn.functional.l1_loss"]


def test_steps_on_a_tuple_of_outputs_stay_apart(net):
    text = "logits, aux = Net()(x)\nF.cross_entropy(logits, y)\nF.cross_entropy(aux, y)"
    assert [use.steps[0].key for use in net(text).uses] == [0, 1]


@pytest.mark.parametrize(
    ("criterion", "args", "kwargs"),
    [
        ("nn.CrossEntropyLoss(ignore_index=-1)", (), {"ignore_index": -1}),
        ("nn.CrossEntropyLoss(w, reduction='sum')", (UNKNOWN,), {"reduction": "sum"}),
        ("nn.CrossEntropyLoss(weight=torch.ones(3))", (), {"weight": UNKNOWN}),
        ("functools.partial(F.cross_entropy, reduction='none')", (), {"reduction": "none"}),
        (
            "functools.partial(nn.CrossEntropyLoss, label_smoothing=0.1)()",
            (),
            {"label_smoothing": 0.1},
        ),
    ],
)
def test_the_arguments_of_a_criterion_are_told(net, criterion, args, kwargs):
    use = only(net(f"criterion = {criterion}\ncriterion(Net()(x), y)"))
    assert (use.args, dict(use.kwargs)) == (args, kwargs)


def test_the_further_arguments_of_a_functional_loss_are_told(net):
    use = only(net("F.cross_entropy(Net()(x), y, None, ignore_index=5)"))
    assert (use.args, dict(use.kwargs)) == ((None,), {"ignore_index": 5})


@pytest.mark.parametrize(
    ("labels", "steps"),
    [
        ("y", ()),
        ("y.float()", (".float",)),
        ("F.one_hot(y, 10).float()", ("torch.nn.functional.one_hot", ".float")),
        ("torch.ones(3, 1)", ("torch.ones",)),
        ("batch['label'].long()", (".long",)),
        ("out.argmax(1)", ("torch.argmax",)),
        ("out.softmax(1)", (".softmax",)),
    ],
)
def test_how_the_labels_were_made_is_told(net, labels, steps):
    target = net(f"model = Net()\nout = teacher(x)\nF.mse_loss(model(x), {labels})")
    if "out" in labels:
        target = net(f"model = Net()\nout = Net()(x)\nF.mse_loss(model(x), {labels})")
    use = next(use for use in target.uses if use.slot == 0 and use.sink.endswith("mse_loss"))
    assert use.target_steps == steps


def test_the_slot_tells_predictions_from_labels(net):
    assert only(net("F.mse_loss(y, Net()(x))")).slot == 1
    assert only(net("F.mse_loss(target=Net()(x), input=y)")).slot == 1
    assert only(net("nn.TripletMarginLoss()(a, b, Net()(x))")).slot == 2


def test_the_places_of_a_use_are_told(net):
    use = only(net("model = Net()\nout = model(\n    x)\nloss = F.mse_loss(\n    out, y)\n"))
    assert use.location.line == use.through.line + 2
    assert use.location.column == 8


@pytest.mark.parametrize(
    ("text", "sink", "args", "kwargs"),
    [
        ("torch.argmax(out, dim=1)", "torch.argmax", (), {"dim": 1}),
        ("out.argmax(1)", "torch.argmax", (1,), {}),
        ("_, p = torch.max(out, 1)", "torch.max", (1,), {}),
        ("p = out.data.max(1, keepdim=True)[1]", "torch.max", (1,), {"keepdim": True}),
        ("out.topk(5, 1)", "torch.topk", (5, 1), {}),
        ("torch.topk(input=out, k=5, dim=1)", "torch.topk", (), {"k": 5, "dim": 1}),
        ("np.argmax(out.cpu().numpy(), axis=1)", "torch.argmax", (), {"axis": 1}),
        ("print(f'{(out.argmax(1) == y).sum()}')", "torch.argmax", (1,), {}),
    ],
)
def test_picking_a_class_is_a_use(net, text, sink, args, kwargs):
    use = only(net(f"import numpy as np\nout = Net()(x)\n{text}"))
    assert (use.sink, use.args, dict(use.kwargs)) == (sink, args, kwargs)


@pytest.mark.parametrize("text", ["torch.max(out)", "torch.max(out, other)", "out.max()"])
def test_a_maximum_over_everything_is_no_use(net, text):
    assert net(f"out = Net()(x)\n{text}").uses == ()


def test_labels_picked_from_another_output_are_no_output(net):
    text = "model = Net()\nlabel = model(x).max(1)[1]\nF.cross_entropy(z, label)"
    assert sinks(net(text)) == ["torch.max"]


@pytest.mark.parametrize(
    "loss",
    ["nn.BCEWithLogitsLoss()", "nn.NLLLoss()", "nn.KLDivLoss()", "nn.modules.loss.HuberLoss()"],
)
def test_every_torch_loss_is_known_by_its_public_name(net, loss):
    name = loss.rpartition(".")[2][:-2]
    assert sinks(net(f"{loss}(Net()(x), y)")) == [f"torch.nn.{name}"]


def test_a_discriminator_keeps_its_generator_s_output_apart(found):
    text = """
        import torch.nn as nn
        class G(nn.Module):
            def forward(self, z): return z
        class D(nn.Module):
            def forward(self, x): return x
        g, d = G(), D()
        bce = nn.BCELoss()
        fake = g(z)
        loss = bce(d(fake), ones)
        recon = nn.L1Loss()(fake, real)
    """
    targets = found(text)
    assert [use.sink for use in targets["D"].uses] == ["torch.nn.BCELoss"]
    assert [use.sink for use in targets["G"].uses] == ["torch.nn.L1Loss"]
