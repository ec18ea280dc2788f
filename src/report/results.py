"""What finished runs say, gathered: of a runs root, or of a folder with one JSON file a seed that is kept in git.

Both are read as {"seed0": {name of the run: its summary}}.
"""

import json
from pathlib import Path

from src import InputError, agreement, files, records


def of_runs(runs_root):
    """The summaries of all finished runs of a runs root."""
    found = {}
    for path in sorted(Path(runs_root).glob("*/seed*/summary.json")):
        name, seed = path.parts[-3:-1]
        found.setdefault(seed, {})[name] = records.summary_of(path.parent)
    return found


def fitting(settings, photos, names, constants):
    """The summaries of those finished runs, of any seed, that would come out the same today; a mean is of one thing.

    The others are named and left out.

    Args:
        photos: data.PhotoSet whose ground truths they must have been scored against.
        names: settings that they must have been made with.
        constants: dict name of a run -> those that it must have, where they are known.
    """
    found = of_runs(settings.runs_root)
    for seed, of_seed in found.items():
        for name in list(of_seed):
            path = Path(settings.runs_root) / name / seed
            try:
                agreement.must_agree(settings, path, records.config_of(path), names, constants.get(name))
                if not records.is_scored_against(of_seed[name], photos):
                    raise InputError(f"{path} was scored against other ground truth")
            except InputError as error:
                print(f"left out of the tables: {error}", flush=True)
                del of_seed[name]
    return found


def of_folder(folder):
    """The summaries of a results folder, seed<N>.json each."""
    return {path.stem: files.read_json(path) for path in sorted(Path(folder).glob("seed*.json"))}


def keep(folder, runs_root, seed, names):
    """Write what the finished ones of these runs of a seed say to <folder>/seed<N>.json, a run a line.

    What the file has of other runs stays: a long list may be run in several sittings, and on several machines.
    """
    path = Path(folder) / f"seed{seed}.json"
    before = files.read_json(path) if path.exists() else {}
    there = of_runs(runs_root).get(f"seed{seed}", {})
    kept = before | {name: there[name] for name in names if name in there}
    order = [name for name in names if name in kept] + [name for name in kept if name not in names]
    lines = [f"{json.dumps(name)}: {json.dumps(kept[name])}" for name in order]
    with files.writing(path, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")
