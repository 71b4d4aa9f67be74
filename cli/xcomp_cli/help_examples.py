"""The examples at the end of each `--help`, as data; a test parses every one with the command that it is about."""

from typing import Protocol

EXAMPLES: dict[str, tuple[str, ...]] = {
    "index": (
        "xcomp index ~/Pictures",
        "xcomp index ~/Pictures --profile lite --exclude '*.png' --dry-run",
        "xcomp index ~/Pictures --watch",
    ),
    "search": (
        'xcomp search "a cup of coffee"',
        "xcomp search 红色的摩托车 -k 3",
        "xcomp search --image photo.jpg --where 'rights=cc-by' --html hits.html --open",
        "xcomp search harbour -0 | xargs -0 cp -t ~/harbour",
    ),
    "illustrate": (
        "xcomp illustrate post.md",
        "xcomp illustrate post.md --max-images 3 --zip",
        "xcomp illustrate post.md --in-place --assets static/img --url-prefix /img/",
    ),
    "compose": ('xcomp compose "A weekend at the lake" --model openai:MODEL --images 4',),
    "edit": (
        "xcomp edit post.illustrated --spot 1 --pick 2",
        'xcomp edit post.illustrated --spot 1 --search "a rocket at night"',
        "xcomp edit post.illustrated --undo",
    ),
    "select": ("xcomp select --context before.txt --candidate a.jpg --candidate b.jpg",),
    "chat": ('xcomp chat "What is on the table?" --image photo.jpg --model openai:MODEL',),
    "status": ("xcomp status", "xcomp status --json"),
    "ps": ("xcomp ps",),
    "stop": ("xcomp stop", "xcomp stop composer"),
    "doctor": ("xcomp doctor",),
    "token": ("xcomp token ~/.config/xcomp.token",),
    "repo list": ("xcomp repo list",),
    "repo show": ("xcomp repo show default",),
    "repo create": ("xcomp repo create trips --profile lite",),
    "repo delete": ("xcomp repo delete trips --yes",),
    "repo export": ("xcomp repo export trips trips.xcomp",),
    "repo import": ("xcomp repo import trips trips.xcomp",),
    "repo duplicates": ("xcomp repo duplicates default",),
    "repo optimize": ("xcomp repo optimize default",),
    "repo snapshot": ("xcomp repo snapshot default --list",),
    "repo space add": ("xcomp repo space add default large open_clip:ViT-L-14/laion2b_s32b_b82k",),
    "repo space switch": ("xcomp repo space switch default large",),
    "repo space drop": ("xcomp repo space drop default en",),
    "models list": ("xcomp models list",),
    "models pull": ("xcomp models pull clip",),
    "models verify": ("xcomp models verify",),
    "models plan": ("xcomp models plan internlm/internlm-xcomposer2-7b",),
    "models convert": ("xcomp models convert internlm/internlm-xcomposer2-7b ./converted",),
    "eval selection": ("xcomp eval selection items.jsonl",),
    "serve": ("xcomp serve indexer --listen 127.0.0.1:7411 --home ./library",),
}


class Command(Protocol):
    """A command with a help text; a group has commands below it as well."""

    epilog: str | None


def add_examples(command: Command, path: str) -> None:
    """Adds the examples of a command, and of the commands below it, to their help."""
    if path in EXAMPLES:
        lines = "\n".join(f"  {line}" for line in EXAMPLES[path])
        command.epilog = f"\b\nExamples:\n{lines}"
    for name, inner in getattr(command, "commands", {}).items():
        add_examples(inner, f"{path} {name}")
