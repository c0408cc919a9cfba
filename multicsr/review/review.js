"use strict";
// The page of `multicsr review`. What a person says is sent at once, and shown as said only when it is stored. Texts
// only ever become text nodes.
(() => {
  const byId = (id) => document.getElementById(id);
  const number = (value) => value.toLocaleString("en-US");
  const state = { items: [], at: 0, busy: false, editing: false, thresholds: null };

  async function ask(name, body) {
    const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    let answer;
    try {
      answer = await fetch(name, body === undefined ? {} : post);
    } catch {
      throw new Error("`multicsr review` does not answer; start it again. What was said before is stored.");
    }
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error);
    return found;
  }

  // Runs one request at a time, and shows what went wrong.
  async function busy(action) {
    if (state.busy) return;
    state.busy = true;
    byId("alert").textContent = "";
    try {
      await action();
    } catch (error) {
      byId("alert").textContent = error.message;
    } finally {
      state.busy = false;
    }
  }

  const decided = () => state.items.filter((item) => item.verdict).length;
  const current = () => state.items[state.at];

  function show(focus = true) {
    const item = current();
    const total = state.items.length;
    byId("progress").max = Math.max(total, 1);
    byId("progress").value = decided();
    byId("progress-text").textContent = `${number(decided())} of ${number(total)} decided`;
    byId("pair").hidden = !item;
    byId("nothing").hidden = Boolean(item);
    if (!item) return;
    byId("pair-heading").textContent = `Pair ${number(state.at + 1)} of ${number(total)}`;
    byId("curation").textContent = border(item);
    for (const name of ["anchor", "positive", "negative"]) byId(name).textContent = item[name];
    byId("a").textContent = item.edited ? "" : `a ${item.a.toFixed(1)}`;
    byId("b").textContent = item.edited ? "" : `b ${item.b.toFixed(1)}`;
    const said = byId("said");
    said.replaceChildren();
    if (item.verdict) {
      const verdict = document.createElement("b");
      verdict.className = item.verdict;
      verdict.textContent = item.verdict;
      said.append("You said: ", verdict, item.edited ? ", edited, " : " ", item.signature);
    }
    byId("previous").disabled = state.at === 0;
    byId("next").disabled = state.at + 1 >= total;
    byId("undo").disabled = decided() === 0;
    byId("triplet").hidden = byId("actions").hidden = state.editing;
    byId("editor").hidden = !state.editing;
    if (focus && !state.editing) byId("pair-heading").focus();
  }

  function border(item) {
    const where = `sentence ${number(item.id)}, round ${item.round}`;
    if (!state.thresholds) return `No curation is on; a − b = ${(item.a - item.b).toFixed(2)}; ${where}.`;
    const by = item.distance.toFixed(2);
    return item.accepted
      ? `Curation accepts it, with ${by} to spare before a threshold would reject it; ${where}.`
      : `Curation rejects it; thresholds looser by ${by} would accept it; ${where}.`;
  }

  // The next pair that is not decided, after this one and then from the beginning; this one where all are.
  function advance() {
    const open = state.items.map((item, at) => (item.verdict ? -1 : at)).filter((at) => at >= 0);
    if (open.length) state.at = open.find((at) => at > state.at) ?? open[0];
    return open.length;
  }

  function put(item) {
    const at = state.items.findIndex((each) => each.key === item.key);
    state.items[at] = item;
    return at;
  }

  const decide = (verdict, texts = {}) => busy(async () => {
    const { key, positive, negative } = current();
    put(await ask("decide", { key, verdict, positive, negative, ...texts }));
    state.editing = false;
    const left = advance();
    const word = verdict === "accepted" ? "Accepted" : "Rejected";
    byId("status").textContent = left
      ? `${word}. ${number(left)} left.`
      : `${word}. All ${number(state.items.length)} are decided: finish, or look at them again.`;
    show();
  });

  const undo = () => busy(async () => {
    const item = await ask("undo", {});
    if (!item) {
      byId("status").textContent = "There is nothing to undo.";
      return;
    }
    state.at = put(item);
    byId("status").textContent = "Undone: this pair is undecided again.";
    show();
  });

  function go(by) {
    state.at = Math.min(state.items.length - 1, Math.max(0, state.at + by));
    byId("status").textContent = "";
    show();
  }

  function edit(on) {
    state.editing = on;
    byId("alert").textContent = "";
    if (on) for (const name of ["positive", "negative"]) byId(`edit-${name}`).value = current()[name];
    show();
    if (on) byId("edit-positive").focus();
  }

  const save = () => decide("accepted", {
    positive: byId("edit-positive").value, negative: byId("edit-negative").value,
  });

  const finish = () => busy(async () => {
    await ask("finish", {});
    byId("pair").hidden = true;
    byId("finish").disabled = true;
    byId("status").textContent = "Everything is stored, and this page may be closed.";
    state.items = [];
  });

  const KEYS = {
    a: () => decide("accepted"), r: () => decide("rejected"), e: () => edit(true), u: undo,
    ArrowLeft: () => go(-1), k: () => go(-1), ArrowRight: () => go(1), j: () => go(1),
  };

  document.addEventListener("keydown", (event) => {
    if (state.editing) {
      if (event.key === "Escape") edit(false);
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
      else return;
      event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !byId("keys").checked || !current()) return;
    if (event.target.matches?.("input, textarea, select")) return;
    const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  const clicks = {
    accept: KEYS.a, reject: KEYS.r, edit: KEYS.e, undo, previous: () => go(-1), next: () => go(1), save,
    cancel: () => edit(false), finish,
  };
  for (const [id, action] of Object.entries(clicks)) byId(id).addEventListener("click", action);

  busy(async () => {
    const found = await ask("items");
    Object.assign(state, { items: found.items, thresholds: found.thresholds });
    byId("run").textContent = found.run;
    byId("reviewer").textContent = found.reviewer;
    document.title = `${found.run} · multicsr review`;
    byId("nothing").textContent = found.total
      ? "There is nothing to show." : "No pair of this run is near a border: none was judged, or other filters reject all.";
    state.at = -1;
    if (!advance()) state.at = 0;
    show();
    document.documentElement.dataset.ready = "true";
  });
})();
