"""Scripts in processes of their own, several at once, each after those that it reads."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import runpy
import sys
import tempfile
import threading

import torch

from src import compute


def run(stages, done, *, jobs=1, verbose=False, again="the same command", finished=lambda name: False):
    """Run stages and yield the name of each when it has ended, here or in another program that runs them too.

    Ends the program with a stage's exit code if that is not 0; the stages beside it are ended, too.

    Args:
        stages: dict name -> (names that it reads, argv of its script), in order.
        done: set of names that are finished already; those that end are added.
        jobs: stages at once, each with its share of the cores.
        verbose: show what they print.
        again: words for what goes on where this was ended.
        finished: function, name to whether its run is finished by now.
    """
    # Importing torch and torchvision takes 3 to 5 s on two cores, a tenth of the demo over its stages; a fork server
    # does it once. Where the system has none (Windows), each stage does.
    # The server's socket lies in the folder for temporary files, and its path may have 107 bytes.
    with_fork = "forkserver" in multiprocessing.get_all_start_methods() and len(os.fsencode(tempfile.gettempdir())) < 70
    processes = multiprocessing.get_context("forkserver" if with_fork else "spawn")
    if with_fork:
        processes.set_forkserver_preload(["src.training"])
    threads = max(1, compute.cores() // jobs)
    waiting, running = {name: stage for name, stage in stages.items() if name not in done}, {}
    try:
        while waiting or running:
            if elsewhere := [name for name in waiting if finished(name)]:
                for name in elsewhere:
                    del waiting[name]
                    done.add(name)
                    yield name
                continue
            ready = [name for name, (reads, _) in waiting.items() if done.issuperset(reads)]
            for name in ready[: jobs - len(running)]:
                _, argv = waiting.pop(name)
                running[name] = processes.Process(target=_script, args=(argv, threads, verbose))
                running[name].start()
            if not running:
                raise ValueError(f"nobody makes what these stages read: {', '.join(waiting)}")
            multiprocessing.connection.wait([process.sentinel for process in running.values()])
            for name in [name for name, process in running.items() if not process.is_alive()]:
                process = running.pop(name)
                process.join()
                if process.exitcode != 2 or not finished(name):  # refused, as another has finished it meanwhile
                    _check(process, stages[name][1][0], again)
                done.add(name)
                yield name
    finally:  # nobody else would end them, and the same command would start others beside them
        started = [process for process in running.values() if process.is_alive()]  # one may be just about to start
        for process in started:
            process.terminate()
        for process in started:
            process.join()


def _script(argv, threads, verbose):
    """What `python <script> <flags>` does, without importing torch anew; ends when who started it is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = argv
    torch.set_num_threads(threads)
    with contextlib.nullcontext() if verbose else contextlib.redirect_stdout(None):
        runpy.run_path(argv[0], run_name="__main__")


def _end_with_parent():
    """Nobody would end this process if its parent were killed, and the same command would start another beside it."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _check(process, script, again):
    """End the program with the exit code of a process that ended badly, as a shell has it."""
    process.join()
    if process.exitcode:
        killed = f", which was killed by signal {-process.exitcode}" if process.exitcode < 0 else ""
        further = "" if process.exitcode == 2 else f"; {again} goes on from there"  # the stage has said what to do
        print(f"stopped in {script}{killed}{further}", file=sys.stderr)
        sys.exit(process.exitcode if process.exitcode > 0 else 128 - process.exitcode)
