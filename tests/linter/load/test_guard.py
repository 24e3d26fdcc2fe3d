"""What the user's code does by habit leaves no trace."""

from __future__ import annotations

import pytest

HEAD = "import os, shutil, socket, sys, tempfile, urllib.request, torch\nfrom torch import nn\n"
NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(opt.width, 2)

    def forward(self, x):
        return self.fc(x)
"""
SCRIPT = """
import argparse, numpy, nowhere
from torch.utils.data import DataLoader
print("starting")
sys.stderr.write("starting")
os.makedirs("results")
open("log", "w").write("x")
parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True)
parser.add_argument("folder")
parser.add_argument("--width", type=int, default=3)
opt = parser.parse_args()
if not os.path.exists(opt.data):
    exit("no data")
urllib.request.urlretrieve("http://nowhere.invalid/data")
nowhere.download("data")
numpy.save("data", [1])
torch.save({}, "model.pth")
device = torch.device("cuda")
loader = DataLoader(range(10))
"""
TRAINING = """
model = Net().cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(10):
    for x in loader:
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
    torch.save(model.state_dict(), "model.pth")
while True:
    pass
"""


def test_a_script_is_read_for_its_model_alone(lint, tmp_path, capfd):
    report = lint(HEAD + SCRIPT + NET + TRAINING)
    assert report.findings == ()
    assert [(model.name, model.analysed) for model in report.models] == [("Net", True)]
    assert [path.name for path in tmp_path.iterdir()] == ["net.py"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "use",
    [
        "open('trace', 'w')",
        "open('net.py', 'r+')",
        "os.open('trace', os.O_CREAT | os.O_WRONLY)",
        "os.remove('net.py')",
        "os.rename('net.py', 'trace')",
        "os.symlink('net.py', 'trace')",
        "shutil.copy('net.py', 'trace')",
        "shutil.rmtree('.')",
        "tempfile.mkdtemp()",
        "torch.save({}, 'trace')",
        'exec(\'open("trace", "w")\')',
        "socket.create_connection(('127.0.0.1', 9))",
        "urllib.request.urlopen('http://127.0.0.1:9')",
    ],
)
@pytest.mark.parametrize("place", ["class", "forward"])
def test_traces_are_refused(lint, tmp_path, use, place):
    net = NET.replace("opt.width", "3")
    if place == "class":
        net = net.replace("(nn.Module):\n", f"(nn.Module):\n    {use}\n")
    else:
        net = net.replace("return", f"{use}\n        return")
    report = lint(HEAD + net)
    assert "nnlint " in report.findings[0].message
    assert not report.models[0].analysed
    assert [path.name for path in tmp_path.iterdir()] == ["net.py"]
    assert (tmp_path / "net.py").read_text() == HEAD + net


@pytest.mark.parametrize(
    "use",
    [
        "os.mkdir('trace')",
        "os.makedirs('trace/deep')",
        "__import__('pathlib').Path('trace/deep').mkdir(parents=True)",
        "list(map(os.mkdir, ['trace']))",
    ],
)
def test_folders_seem_to_be_made(lint, tmp_path, use):
    net = NET.replace("opt.width", "3").replace("(nn.Module):\n", f"(nn.Module):\n    {use}\n")
    report = lint(HEAD + net)
    assert report.findings == ()
    assert report.models[0].analysed
    assert [path.name for path in tmp_path.iterdir()] == ["net.py"]


@pytest.mark.parametrize(
    "use",
    [
        "open('net.py').read()",
        "os.makedirs('.', exist_ok=True)",
        "open(os.devnull, 'w').write('x')",
        "os.listdir('.')",
        "torch.zeros(2).cuda().tolist()",
    ],
)
def test_reading_is_no_trace(lint, use):
    net = NET.replace("opt.width", "3").replace("(nn.Module):\n", f"(nn.Module):\n    {use}\n")
    assert lint(HEAD + net).findings == ()


def test_a_package_may_write_while_it_is_imported(lint, tmp_path, monkeypatch):
    place = tmp_path / "site-packages"
    place.mkdir()
    (place / "caching.py").write_text(f"open({str(place / 'cache')!r}, 'w').close()\nx = 3\n")
    monkeypatch.syspath_prepend(str(place))
    text = f"import sys\nsys.path.append({str(place)!r})\n{HEAD}import caching\n" + NET.replace(
        "opt.width", "caching.x"
    )
    assert lint(text).findings == ()
    assert (place / "cache").exists()
