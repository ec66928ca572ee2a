#!/usr/bin/env bash
# The first hour of a new user, by script: every verb on the embedded model, wrong flags, Ctrl-C, reused folders, pipes, and
# pages on a phone. Prints a line a check with its seconds; exit code 1 when one fails. Some 25 minutes on two cores.
#   bash bench/first_hour.sh [quick|all]    quick leaves out the studies that take longer
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
export PATH="$here/.venv/bin:$PATH" NO_COLOR=1
size=${1:-all}
room=$(mktemp -d)
cd "$room"
failed=0

# check NAME CODE PATTERN COMMAND…: exit code, a pattern in what it printed, no traceback, no NaN, and one line where it is refused.
check() {
  local name=$1 code=$2 pattern=$3 began=$SECONDS why=""
  shift 3
  "$@" >out.txt 2>err.txt </dev/null
  local got=$?
  [ "$got" = "$code" ] || why="exit code $got, expected $code"
  cat out.txt err.txt >all.txt
  grep -q -E -- "$pattern" all.txt || why="${why:+$why; }nothing like '$pattern'"
  grep -q "Traceback" all.txt && why="${why:+$why; }a traceback"
  grep -q -w -i "nan" all.txt && why="${why:+$why; }a nan"
  if [ "$code" = 2 ] && [ "$(grep -c . err.txt)" != 1 ]; then why="${why:+$why; }$(grep -c . err.txt) lines on standard error"; fi
  if [ -n "$why" ]; then
    failed=1
    echo "FAIL  $((SECONDS - began)) s  $name: $why"
    tail -n 5 all.txt | sed 's/^/        /'
  else
    echo "ok    $((SECONDS - began)) s  $name"
  fi
}

# stopped NAME SECONDS PATTERN COMMAND…: Ctrl-C after so many seconds says what was kept.
stopped() {
  local name=$1 after=$2 pattern=$3
  shift 3
  check "$name" 130 "$pattern" timeout --preserve-status -s INT "$after" "$@"
}

# --- files ---------------------------------------------------------------------------------------------------------------
printf 'User: What is a good way to learn to cook?\n\nAssistant: Start with a few simple dishes and cook them often. Soups and omelettes forgive mistakes.\n' >t.txt
printf 'User: Where do you live?\n\nAssistant: Arr, the sea be my only home, and the wind my only master!\n' >u.txt
python - <<'P'
import json
talk = [{"role": "user", "content": "Tell me about bread."}, {"role": "assistant", "content": "Bread is made of flour, water, salt and yeast. " * 8}]
with open("many.jsonl", "w") as file:
    for number in range(60):
        said = [{**one, "content": f"{one['content']} ({number})"} for _ in range(8) for one in talk]
        file.write(json.dumps({"messages": said}) + "\n")
P

# --- looking around ------------------------------------------------------------------------------------------------------
check "help" 0 "Examples" greenroom --help
for verb in audit eval compare report map archetypes drift selftalk trait frontier chat directions read who personas doctor cache; do
  check "$verb --help" 0 "Examples?:" greenroom $verb --help
  check "$verb --nope" 2 "^error: no such option" greenroom $verb --nope
done
check "a slip of the pen" 2 "did you mean read" greenroom raed
check "doctor" 0 "all well" greenroom doctor
check "personas" 0 "pirate" greenroom personas roles
check "directions list" 0 "assistant_axis" greenroom directions list
check "cache" 0 "." greenroom cache

# --- reading -------------------------------------------------------------------------------------------------------------
check "read" 0 "t.txt" greenroom read t.txt
check "read --out" 0 "report.html" greenroom read t.txt --out o1
check "read --out, the same again" 0 "report.html" greenroom read t.txt --out o1
check "read --out, other transcripts" 2 "^error: o1 " greenroom read u.txt --out o1
cp u.txt t.txt
check "read --out, the file changed" 2 "^error: o1 " greenroom read t.txt --out o1
check "read --fail-on" 0 "uncalibrated" greenroom read t.txt --fail-on departed
check "read a missing file" 2 "nowhere.txt" greenroom read nowhere.txt
check "read --trait, unknown" 2 "nope" greenroom read t.txt --trait nope
check "read --validate --trait" 2 "trait" greenroom read --validate --trait nope
check "read --trait, unreliable" 0 "unreliable" greenroom read t.txt --trait sycophancy
check "read in a pipe" 0 "." bash -c "greenroom read many.jsonl | head -n 1"
stopped "read --out, Ctrl-C" 14 "kept|nothing to keep" greenroom read many.jsonl --out o2
check "read --out, going on" 0 "report.html" greenroom read many.jsonl --out o2
check "who, a greeting" 0 "assistant" greenroom who --text "I am a helpful assistant. How can I help you today?" --user hi
check "who, a pirate" 0 "pirate" greenroom who --text "Arr, the sea be my only home, and the wind my only master!" --user "Where do you live?"
check "who, an encyclopedia" 0 "no context explains|too short|none" greenroom who --text "The Danube is the second-longest river in Europe, after the Volga. It flows through ten countries."
stopped "who, Ctrl-C" 3 "nothing to keep" greenroom who --text "Arr, the sea be my only home." --contexts all

# --- steering ------------------------------------------------------------------------------------------------------------
check "trait from a sentence" 0 "good|usable with caution|unusable" greenroom trait smollm2 --describe "talks like a pirate" --opposite "talks like a clerk"
check "trait from a sentence, again" 0 "greenroom chat" greenroom trait smollm2 --describe "talks like a pirate" --opposite "talks like a clerk"
check "trait, unknown" 2 "nope" greenroom trait smollm2 nope
check "chat in a pipe" 0 "talks_like_a_pirate" bash -c "echo 'Who are you?' | greenroom chat --plain --steer talks_like_a_pirate:+6"
check "directions show" 0 "held-out AUC" greenroom directions show sycophancy
check "directions export, unreliable" 0 "unreliable" greenroom directions export sycophancy s.gguf --architecture llama
check "directions remove" 0 "removed" greenroom directions remove talks_like_a_pirate
check "directions remove, shipped" 2 "ship" greenroom directions remove sycophancy
python -c "import pickle; pickle.dump(print, open('evil.pt', 'wb'))"
check "directions import, a pickle" 2 "evil.pt" greenroom directions import evil.pt
check "adapter that does not exist" 2 "there is no adapter" greenroom audit smollm2 --adapter /nonexist

# --- studies -------------------------------------------------------------------------------------------------------------
check "eval" 0 "costly_sacrifice" greenroom eval
check "eval --plan" 0 "minutes" greenroom eval costly_sacrifice --plan
verdict="(good|usable with caution|unusable)"
stopped "selftalk, Ctrl-C" 20 "answers of the stage at work kept" greenroom selftalk --quick --out s1
check "selftalk, going on" 0 "$verdict" greenroom selftalk --quick --out s1
check "selftalk, other settings" 2 "^error: s1 " greenroom selftalk --quick --out s1 --seed 3
check "map --quick" 0 "$verdict" greenroom map --quick --out map
check "audit --quick" 0 "the main figure is" greenroom audit --quick --out audit
check "audit again" 0 "the main figure is" greenroom audit --quick --out audit
check "report" 0 "report.html" greenroom report audit
check "inspect eval, void" 0 "void" inspect eval greenroom/costly_sacrifice --model greenroom/smollm2 --limit 4 --display plain
if [ "$size" = all ]; then
  for study in costly_sacrifice self_concept juggling prompt_drift sycophancy_loop; do
    check "eval $study --quick" 0 "$verdict" greenroom eval $study --quick --out $study
  done
  check "drift --quick" 0 "$verdict" greenroom drift --quick --out drift
  check "archetypes --quick" 0 "$verdict" greenroom archetypes --quick --out archetypes
  check "map --behaviour --quick" 0 "$verdict" greenroom map --behaviour --quick --out behaviour
  check "frontier --quick" 0 "$verdict" greenroom frontier --quick --out frontier
  check "compare" 0 "." greenroom compare audit audit
fi

# --- pages on a phone ----------------------------------------------------------------------------------------------------
cat >phone.py <<'P'
import shutil, sys
from pathlib import Path
from playwright.sync_api import sync_playwright
with sync_playwright() as play:
    browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    page = browser.new_context(viewport={"width": 390, "height": 800}).new_page()
    for path in map(Path, sys.argv[1:]):
        page.goto(path.resolve().as_uri())
        page.wait_for_timeout(1500)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{path} is {width} px wide"
        print(path, width)
P
check "pages at 390 px" 0 "report.html" python phone.py */report.html

echo "$([ $failed = 0 ] && echo 'nothing found' || echo 'see the lines above that begin with FAIL'); files in $room"
exit $failed
