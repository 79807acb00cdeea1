#!/bin/bash
# Breaks the crate in one place at a time and names the first test that notices.
#
#   tests/mutations.sh [PATTERN]     only the mutations whose name matches
#
# Works on a copy. A mutation is `name|file|from|to`: the first occurrence of `from` becomes `to`. It is
# tried against the ordinary tests, then loom's models, then random programs under shuttle. Run by hand,
# since all of it takes the better part of an hour; SURVIVED at the end of a line means a missing test.
set -u
here=$(cd "$(dirname "$0")/../../.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
(cd "$here" && git ls-files -z | xargs -0 cp --parents -t "$copy")
cd "$copy" || exit 1
crate=crates/aio-sync

mutations() {
cat <<'LIST'
set of an unset event: release to relaxed|raw_event|State::UNSET.0, State::SET.0, Release, Relaxed|State::UNSET.0, State::SET.0, Relaxed, Relaxed
set of a set event: release to relaxed|raw_event|State::SET.0, Release, Relaxed)\n                    .map|State::SET.0, Relaxed, Relaxed)\n                    .map
reset: acquire to relaxed|raw_event|State::SET.0, State::UNSET.0, Acquire, Relaxed|State::SET.0, State::UNSET.0, Relaxed, Relaxed
is_set: acquire to relaxed|raw_event|let state = State(self.word.load(Acquire));\n        if state.is_locked() { self|let state = State(self.word.load(Relaxed));\n        if state.is_locked() { self
lock: acquire to relaxed|raw_event|compare_exchange_weak(from.0, to.0, Acquire, Relaxed)|compare_exchange_weak(from.0, to.0, Relaxed, Relaxed)
setter's lock: acquire to relaxed|raw_event|compare_exchange_weak(state.0, locked, Acquire, Relaxed)|compare_exchange_weak(state.0, locked, Relaxed, Relaxed)
first node: release to relaxed|raw_event|compare_exchange_weak(state.0, queue, Release, Relaxed)|compare_exchange_weak(state.0, queue, Relaxed, Relaxed)
enqueue on a set event: acquire to relaxed|raw_event|let state = State(self.word.load(Acquire));\n            if state.is_set() && reset == Reset::Manual {\n                let claimed|let state = State(self.word.load(Relaxed));\n            if state.is_set() && reset == Reset::Manual {\n                let claimed
unlock: release to relaxed|raw_event|self.word.swap(state.0, Release)|self.word.swap(state.0, Relaxed)
done: release to relaxed|wait_block|swap(DONE, Release)|swap(DONE, Relaxed)
done: acquire to relaxed|wait_block|self.park.load(Acquire)|self.park.load(Relaxed)
unlinked: release to relaxed|wait_list|store(false, Release)|store(false, Relaxed)
unlinked: acquire to relaxed|wait_list|self.linked.load(Acquire)|self.linked.load(Relaxed)
unpin: release to relaxed|watch|fetch_sub(1, Release)|fetch_sub(1, Relaxed)
unpinned: acquire to relaxed|watch|self.pins.load(Acquire)|self.pins.load(Relaxed)
a claim wins always|wait_block|self.claim.compare_exchange(WAITING, index, Relaxed, Relaxed).is_ok()|{ self.claim.store(index, Relaxed); true }
giving up wins always|wait_block|self.claim.compare_exchange(WAITING, CANCELLED, Relaxed, Relaxed).is_ok()|{ self.claim.store(CANCELLED, Relaxed); true }
giving up does not wait for the claimer|wait_one|block.await_release();\n        true|true
is_set does not wait for the unlock|raw_event|if state.is_locked() { self.is_set_when_unlocked(reset) } else { state.is_set() }|{ let _ = reset; state.is_set() }
reset does not wait for the unlock|raw_event|State(state).is_locked() && self.reset_when_unlocked()|false
set of a set event does nothing|raw_event|} else if state.list().is_empty() {|} else if state.is_set() {\n                return true;\n            } else if state.list().is_empty() {
a wait for any takes a signal unclaimed|raw_event|let claimed = block.claim(index);|let _ = index; let claimed = block.is_waiting() \|\| true;
a wait for any takes a manual signal unclaimed|raw_event|rivals.is_none_or(\|(block, index)\| block.claim(index))|rivals.is_none_or(\|(block, index)\| { block.claim(index); true })
unlink does not look again under the lock|raw_event|if node.is_linked() && is_here() {|if is_here() {
the watch is not looked at again under its lock|watch|unsafe { watch.unlink_if(node, is_current) };|{ let _ = is_current; unsafe { watch.unlink_if(node, \|\| true) } };
a wait for all returns while it is pinned|watch|wait.await_unpinned();\n    satisfied|satisfied
a busy wait for all is not pinned|watch|self.pins.fetch_add(1, Relaxed);|self.pins.fetch_add(0, Relaxed);
a new watch is unlocked first|watch|if ptr::eq(event, watch) {|if false {
events of several waits are held one by one|watch|if wait.contains(event) {\n            return true;\n        }|
a wait for all leaves early without a lock|watch|let moves = !missing.is_set_member();|let moves = true;
a wait for all takes only the watch's signal|watch|event.raw().consume_member();|
the dead are told after the unlock|raw_event|unsafe { (*node).mark_unlinked() };\n        }|let _ = node;\n        }
everybody is released before the unlock|raw_event|self.unlock(State::SET);\n        reached(Window::Unlocked);|unsafe { release_claimed([list, satisfied]) }; list = WaitList::EMPTY; satisfied = WaitList::EMPTY;\n        self.unlock(State::SET);\n        reached(Window::Unlocked);
a waiter is released before the unlock|raw_event|let_go(State::queue(list));\n                reached(Window::Unlocked);\n                // SAFETY: this thread claimed the block, and is done with the events.\n                let wakeup = unsafe { block.release() };|let wakeup = unsafe { block.release() };\n                reached(Window::Released);\n                let_go(State::queue(list));
sleepers on the lock are not woken|raw_event|before.0.addr() & CONTENDED != 0|before.0.addr() & CONTENDED == 1
push keeps no CONTENDED|raw_event|State::queue(list).with(state.0.addr() & (LOCKED \| CONTENDED))|State::queue(list).with(LOCKED)
a sleeper is not woken|wait_block|parker::wake_one(address);|let _ = address;
a parked thread looks once|wait_block|while !self.is_done() {|if !self.is_done() {
a dropped wait keeps its signal|wait_one|event.raw().set(Reset::Auto);|
the waker is never changed|pinned_wait|waker = unsafe { this.block.replace_waker(waker.take()) };|
signal before queueing|wait_one|let queued = unsafe { QueuedWait::queue(on, &node, &block) };\n    set();|set();\n    let queued = unsafe { QueuedWait::queue(on, &node, &block) };
last come, first served|wait_list|unsafe { tie(node, self.first) };|unsafe { tie(node, self.first) };\n            self.first = node;
the queue forgets that it is watched|wait_list|self.watched = true;|
wait_any names the higher index|wait_any|.position(\|event\| event.address() == address)|.position(\|event\| event.address() == address && index == usize::MAX)
LIST
}

# Prints the first failing test of a run, if there is one.
noticed() { # name of the run, limit in seconds, command…
    local run=$1 limit=$2 out; shift 2
    out=$(timeout "$limit" "$@" 2>&1); local status=$?
    [ $status -eq 0 ] && return 1
    local test
    test=$(grep -oE "^test .* FAILED|thread '[^']*' .*panicked|error(\[E[0-9]+\])?: .*" <<<"$out" | head -1 |
        sed -E "s/^test (.*) \.\.\. FAILED/\1/; s/thread '([^']*)'.*/\1/")
    [ $status -eq 124 ] && test="${test:-hangs}"
    echo "$run: ${test:-exit status $status}"
}

survived=0
while IFS='|' read -r name file from to; do
    [[ $name =~ ${1:-.} ]] || continue
    # `\|` stands for a bar within a field.
    line=$(mutations | grep -F "$name|" | head -1)
    IFS=$'\x01' read -r name file from to <<<"$(sed 's/\\|/\x02/g; s/|/\x01/g; s/\x02/|/g' <<<"$line")"
    source=$crate/src/$file.rs
    cp "$source" original
    FROM=$from TO=$to python3 - "$source" <<'PY' || { echo "$name: NOT FOUND"; continue; }
import os, sys
path = sys.argv[1]
text = open(path).read()
old, new = (os.environ[key].replace("\\n", "\n") for key in ("FROM", "TO"))
if old not in text:
    sys.exit(1)
open(path, "w").write(text.replace(old, new, 1))
PY
    result=$(
        noticed tests 120 cargo test -q -p aio-sync --lib --tests ||
        RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom noticed loom 300 \
            cargo test -q --release -p aio-sync --test loom ||
        RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle noticed shuttle 300 \
            cargo test -q --release -p aio-sync --test model ||
        echo SURVIVED)
    echo "$name: $result"
    [ "$result" = SURVIVED ] && survived=$((survived + 1))
    cp original "$source"
done < <(mutations)
echo "$survived survived"
