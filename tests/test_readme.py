"""The README tells the truth: its commands parse, its paths exist, its requirements are enough."""

import ast
import re
import shlex
import shutil
import sys

import pytest
from conftest import ROOT

import demo
import model
import mytrain

README, CHINESE = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md"))


def commands(text):
    """Every command of a README, without its comment."""
    return [
        line.split("  #")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line.strip() and not line.startswith("#")
    ]


def python_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def options(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*[a-z]", text))


def paths(text):
    """What a README links to or shows, within the repo."""
    return set(re.findall(r"\]\(([^)#:]+)\)", text))


COMMANDS = commands(README)
# What the project imports, and which package brings it.
PARSERS = {"mytrain.py": lambda line: mytrain._parser().parse_args(line), "demo.py": demo.parse}
OPTIONAL = {"jax"}  # imported where it is asked for; the README says when
PROVIDED = {
    "cv2": "opencv-python",
    "google": "protobuf",
    "tensorflow_datasets": "tensorflow-datasets",
}


def arguments(script):
    """What stands behind `python <script>` in each of the README's commands."""
    found = []
    for command in COMMANDS:
        words = shlex.split(command, comments=True)
        if len(words) > 1 and words[0].endswith("python") and words[1] == script:
            found.append(words[2:])
    return found


def test_there_are_the_two_commands_for_a_fresh_machine():
    first, second = COMMANDS[:2]
    assert first.endswith(".venv/bin/python demo.py")
    assert second.endswith(".venv/bin/python -m pytest")
    assert all("python3 -m venv .venv" in command for command in (first, second))


def test_it_says_where_the_programs_of_its_commands_are():
    programs = {command.split()[0] for command in COMMANDS[2:]} - {"export"}
    programs |= set(re.findall(r"`(pip) install", README))
    for text, words in ((README, r"Below,\s(.+?) `\.venv`"), (CHINESE, r"下文的(.+?)`\.venv`")):
        named = set(re.findall(r"`(\w+)`", re.search(words, text).group(1)))
        assert named == {name for name in programs if "=" not in name}


def test_it_says_what_to_do_with_another_python():
    newest = re.search(r"Python 3\.\d+, 3\.\d+ or (3\.\d+),", README).group(1)
    for text in (README, CHINESE):
        (row,) = (line for line in text.splitlines() if "No matching distribution" in line)
        assert f"`python{newest} -m venv .venv`" in row
        assert f"`py -{newest} -m venv .venv`" in row


@pytest.mark.parametrize(("script", "parse"), PARSERS.items())
def test_every_command_parses(script, parse):
    lines = arguments(script)
    assert lines
    for line in lines:
        parse(line)


def test_every_note_of_the_csv_is_named():
    notes = re.findall(r'\["([^"]+)"\] if', (ROOT / "picture.py").read_text("utf-8"))
    assert len(notes) == 2
    for text in (README, CHINESE):
        (row,) = (line for line in text.splitlines() if line.startswith("| `--csv` |"))
        assert all(note in row for note in ["unsure", *notes])


def test_every_option_named_exists_and_every_option_is_named(capsys):
    known = {"--help", "--logdir"}
    known |= {"--kills", "--out", "--work", "--baseline-epochs", "--precision", "--only"}
    known |= {"--repeats", "--seeds", "--steps", "--test"}
    own = set()
    for parse in PARSERS.values():
        with pytest.raises(SystemExit):
            parse(["--help"])
        own |= set(re.findall(r"--[a-z][a-z_-]*[a-z]", capsys.readouterr().out))
    named = options(README)
    assert named <= own | known, named - own - known
    assert own - {"--help"} <= named, own - named


def test_every_file_named_exists():
    made_by_running = ("checkpoints/ResNet", "tblogs/ResNet", "predictions", "tensorflow_datasets")
    for path in paths(README) | paths(CHINESE):
        assert (ROOT / path).exists(), path
    tree = re.search(r"## Files\n.*?```text\n(.*?)```", README, re.DOTALL).group(1)
    for line in tree.splitlines():
        path = line.split()[0] if line.strip() else ""
        if path and not path.startswith(made_by_running):
            assert (ROOT / path).exists(), path
    for script in ROOT.glob("*.py"):
        assert script.name in tree, f"{script.name} is missing in the README's tree"


def test_both_languages_say_the_same():
    assert commands(CHINESE) == COMMANDS
    assert options(CHINESE) == options(README)
    other = {"README.md", "README.zh-CN.md"}  # each names the other
    assert paths(CHINESE) - other == paths(README) - other
    headings = [re.findall(r"^#+ ", text, re.MULTILINE) for text in (README, CHINESE)]
    assert headings[0] == headings[1]
    tables = [re.findall(r"^\|", text, re.MULTILINE) for text in (README, CHINESE)]
    assert len(tables[0]) == len(tables[1])
    # Figures: whatever has a decimal point or a percent sign.
    figures = [re.findall(r"\d+(?:\.\d+)+|\d+ %", text) for text in (README, CHINESE)]
    assert sorted(figures[0]) == sorted(figures[1])
    trees = [re.findall(r"^([\w./-]+\.(?:py|txt)|\w+/) {2,}", t, re.MULTILINE) for t in
             (README, CHINESE)]  # fmt: skip
    assert trees[0] == trees[1] and "mytrain.py" in trees[0]


def test_its_code_makes_a_dataset_of_a_folder_of_pictures(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    characters = "A3eG27a8hRdnEB"
    for number, character in enumerate(characters, start=1):
        mine = tmp_path / "mine" / f"{character}_{number}.png"
        shutil.copy(ROOT / "assets" / f"{number}.png", mine)
    (tmp_path / "mine" / "._A_1.png").write_bytes(b"\0\5\x16\7")  # a Mac's note on a USB stick
    monkeypatch.chdir(tmp_path)
    code = [
        [block for block in python_blocks(text) if "tfds" in block] for text in (README, CHINESE)
    ]
    assert code[0] == code[1] and len(code[0]) == 1
    exec(compile(code[0][0], "README.md", "exec"), {})
    mine.rename(mine.with_name("8_again.png"))
    characters = characters[:-1] + "8"
    exec(compile(code[0][0], "README.md", "exec"), {})
    loaded = mytrain.data.load("my_letters", tmp_path / "tensorflow_datasets")
    assert loaded.characters == [*model.CHARACTERS]
    labels = [*loaded.train[1], *loaded.validation[1]]
    assert sorted(loaded.characters[label] for label in labels) == sorted(characters)


def test_its_code_reads_a_picture(tmp_path, monkeypatch, capsys):
    (code,) = (block for block in python_blocks(README) if "get_model" in block)
    assert code.split("#")[0] in CHINESE
    shutil.copytree(ROOT / "checkpoints" / "shipped", tmp_path / "checkpoints" / "shipped")
    monkeypatch.setattr("weights.CHECKPOINTS", tmp_path / "checkpoints")
    shutil.copy(ROOT / "assets" / "1.png", tmp_path / "scan.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == "A\n"


def test_requirements_cover_the_imports():
    listed = (ROOT / "requirements.txt").read_text("utf-8")
    listed = {re.split(r"[~<>=!]", line)[0].strip() for line in listed.splitlines()}
    own = {path.stem for path in ROOT.glob("*.py")}
    for path in ROOT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in (name.split(".")[0] for name in names):
                if name in OPTIONAL:
                    assert f"pip install {name}" in README
                elif name not in own and name not in sys.stdlib_module_names:
                    assert PROVIDED.get(name, name) in listed, f"{path.name} imports {name}"


def test_defaults_are_as_told():
    for name in ("EPOCHS", "STEPS_PER_EPOCH", "BATCH_SIZE", "DROPOUT", "LEARNING_RATE", "SEED"):
        row = re.search(rf"\| `--{name.lower()}` \|.*\| ([^|]+) \|", README)
        assert row, name
        assert float(row.group(1)) == getattr(mytrain, name), name
    for name in model.MODELS:
        assert name in README
    assert f'"unsure" below a confidence of {100 * demo.UNSURE_BELOW:.0f} %' in README
