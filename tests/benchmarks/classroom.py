"""How long a class takes to grade, and whether its report finds what was planted: python tests/benchmarks/classroom.py [STUDENTS]

200 students by default, drawn from the bank of answers, in the folders of four platforms, and five whose notebooks hang, crash,
eat memory, or are no notebooks. Prints the time, and each count that is not as it was planted. The report stays in the folder
that the last line names.
"""
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

import grade  # noqa: E402
import simulated_class  # noqa: E402

SPOILT = {"hangs": "while True:\n    pass", "crashes": "import os\nos._exit(1)", "waits": "import time\ntime.sleep(1e6)",
          "eats": "x = []\nwhile True:\n    x.append(bytearray(10**8))"}


def main(students=200, seed=1):
    solutions, handed_out = (ROOT / "notebooks" / folder / "02_loss.ipynb" for folder in ("solutions", "exercises"))
    checks = simulated_class.exercises(grade.Lesson(grade.read(solutions)))
    group = simulated_class.draw_class(students, seed, simulated_class.Bank("loss", checks))
    folder = Path(tempfile.mkdtemp(prefix="class_"))
    simulated_class.write(group, folder / "in", grade.read(handed_out), checks)
    for i, (name, code) in enumerate(SPOILT.items()):
        spoilt = simulated_class.Student(name, f"moodle/{name}_{9000 + i}_assignsubmission_file_/02_loss.ipynb", {}, code)
        answers = {check: simulated_class.Answer("", "to do") for check in checks}
        simulated_class.write([spoilt._replace(answers=answers)], folder / "in", grade.read(handed_out), checks)
    (folder / "in" / "google" / "no notebook.ipynb").write_text("hello")
    start = time.monotonic()
    with open(folder / "grades.csv", "wb") as out:
        subprocess.run([sys.executable, ROOT / "scripts" / "grade.py", solutions, folder / "in", "--report", folder / "report",
                        "--seconds", "300"], stdout=out, check=True)
    minutes, used = (time.monotonic() - start) / 60, resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{students} students and 5 spoilt notebooks: {minutes:.1f} minutes by the clock, "
          f"{(used.ru_utime + used.ru_stime) / 60:.1f} of one processor's time")
    found = simulated_class.Read((folder / "report" / "report.html").read_text(encoding="utf-8"))
    marks, mistakes = simulated_class.planted(group)
    off = {words: (mistakes[words], found.mistakes.get(words, 0)) for words in mistakes.keys() | found.mistakes.keys()
           if mistakes[words] != found.mistakes.get(words, 0)}
    print(f"{len(mistakes)} mistakes planted {mistakes.total()} times; not found as often as planted: {off or 'none'}")
    numbers = {check.number: name for name, (check, _) in checks.items()}
    for number, *counts in found.counts:
        want = [marks[numbers[number], mark] for mark in ("right", "wrong", "to do")]
        print(number, "right, wrong, to do:", *counts, "as planted" if counts == want else f"and planted were {want}")
    print(folder)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
