// The browser of all sentences: search, filters, pages, and each sentence's story.
class Browser {
  constructor(stories) {
    this.stories = stories;
    this.recount = null;
    this.page = 0;
    this.options();
    let timer = 0;
    byId("find").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => this.select(), 120); });
    for (const id of ["verdict", "reason", "order"]) byId(id).addEventListener("change", () => this.select());
    byId("previous").addEventListener("click", () => this.turn(-1));
    byId("next").addEventListener("click", () => this.turn(1));
    document.querySelector("svg.scatter")?.addEventListener("click", (event) => {
      const id = event.target.closest?.("[data-id]")?.dataset.id;
      if (id) this.open(id);
    });
    this.select();
    byId("browser").hidden = false;
    byId("groups").hidden = true;
  }

  // What can be chosen, with how many there are of it.
  options() {
    const verdicts = new Map();
    const reasons = new Map();
    this.reasons = this.stories.all.map((story) => {
      verdicts.set(story[ENDED], (verdicts.get(story[ENDED]) ?? 0) + 1);
      const attempt = this.stories.deciding(story);
      const [filter, reason] = [this.stories.word(attempt, "filter"), this.stories.word(attempt, "reason")];
      const name = reason ? `${filter}: ${reason}` : "";
      if (name) reasons.set(name, (reasons.get(name) ?? 0) + 1);
      return name;
    });
    const add = (id, value, text) => byId(id).append(make("option", { value }, text));
    add("verdict", "", `all (${number(this.stories.all.length)})`);
    for (const status of [1, 2, 3, 0]) {
      if (verdicts.has(status)) add("verdict", String(status), `${STATUSES[status]} (${number(verdicts.get(status))})`);
    }
    if (this.stories.all.some((story) => this.isReviewed(story))) add("verdict", "reviewed", "decided by a person");
    add("reason", "", "any");
    for (const [name, count] of [...reasons].sort((one, two) => two[1] - one[1])) {
      add("reason", name, `${name} (${number(count)})`);
    }
  }

  isReviewed(story) {
    return Boolean(this.stories.word(this.stories.deciding(story), "reviewer"));
  }

  // The thresholds were moved, or are where they were.
  changed(recount) {
    this.recount = recount;
    const choice = byId("verdict");
    for (const [value, name] of [["gained", "more with moved thresholds"], ["lost", "fewer with moved thresholds"]]) {
      let option = [...choice.options].find((each) => each.value === value);
      if (recount.moved && !option) {
        option = make("option", { value });
        choice.append(option);
      }
      if (option && !recount.moved) {
        const chosen = option.selected;
        option.remove();
        if (chosen) { choice.value = ""; this.select(); }
      } else if (option) option.textContent = `${name} (${number(recount[value].length)})`;
    }
    if (["gained", "lost"].includes(choice.value)) this.select();
  }

  open(id) {
    for (const name of ["verdict", "reason"]) byId(name).value = "";
    byId("find").value = `#${id}`;
    this.select();
    byId("examples").scrollIntoView();
    byId("found").focus({ preventScroll: true });
    byId("stories-list").querySelector("details")?.setAttribute("open", "");
  }

  select() {
    const { stories } = this;
    const [verdict, reason, query] = [byId("verdict").value, byId("reason").value, byId("find").value.trim().toLowerCase()];
    const id = /^#(\d+)$/.exec(query)?.[1];
    const parts = id ? [] : query.split(/\s+/).filter(Boolean);
    const changed = this.recount && ["gained", "lost"].includes(verdict) ? new Set(this.recount[verdict]) : null;
    this.found = [];
    stories.all.forEach((story, at) => {
      if (changed ? !changed.has(at) : verdict === "reviewed" ? !this.isReviewed(story)
        : verdict !== "" && String(story[ENDED]) !== verdict) return;
      if (reason && this.reasons[at] !== reason) return;
      if (id ? String(story[ID]) !== id : parts.some((part) => !stories.haystack(at).includes(part))) return;
      this.found.push(at);
    });
    if (byId("order").value === "border") {
      const distances = new Map(this.found.map((at) => [at, stories.distance(stories.all[at])]));
      this.found.sort((one, two) => (distances.get(one) - distances.get(two)) || one - two);
    }
    this.page = 0;
    this.show();
  }

  turn(by) {
    this.page += by;
    this.show();
    byId("found").focus({ preventScroll: true });
    byId("browser").scrollIntoView({ block: "start" });
  }

  show() {
    const pages = Math.max(1, Math.ceil(this.found.length / PAGE));
    const first = this.page * PAGE;
    const shown = this.found.slice(first, first + PAGE);
    byId("found").textContent = shown.length
      ? `${number(first + 1)} to ${number(first + shown.length)} of ${sentences(this.found.length)}`
      : "No sentence is like that.";
    byId("stories-list").replaceChildren(...shown.map((at) => this.item(this.stories.all[at])));
    byId("previous").disabled = this.page === 0;
    byId("next").disabled = this.page + 1 >= pages;
    byId("page").textContent = `page ${number(this.page + 1)} of ${number(pages)}`;
  }

  item(story) {
    const attempt = this.stories.deciding(story);
    const item = make("li", {}, this.triplet(story[TEXT], attempt));
    const why = make("p", { class: "why" });
    why.append(make("b", { class: `ended ${STATUSES[story[ENDED]]}` }, STATUSES[story[ENDED]]), " ");
    const reviewer = this.stories.word(attempt, "reviewer");
    if (reviewer) why.append(`by ${reviewer} · `);
    else if (attempt && this.stories.word(attempt, "reason")) {
      why.append(`by ${this.stories.word(attempt, "filter")}: `, make("b", {}, this.stories.word(attempt, "reason")));
      if (attempt[ATTEMPT.detail]) why.append(` (${attempt[ATTEMPT.detail]})`);
      why.append(" · ");
    }
    why.append(`sentence ${number(story[ID])}, line ${number(story[LINE])}`);
    item.append(why);
    const details = make("details", { class: "story" }, make("summary", {}, "Its story"));
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(this.story(story));
    });
    item.append(details);
    return item;
  }

  triplet(anchor, attempt, letters = true) {
    const list = make("dl");
    if (letters) list.append(this.sentence("x", "anchor", "anchor", anchor));
    if (!attempt) return list;
    const rows = [
      ["x⁺", "positive", "positive", "positive", "a", "contradictionPositive"],
      ["x⁻", "negative", "hard negative", "negative", "b", "contradictionNegative"],
    ];
    for (const [letter, role, name, text, score, contradiction] of rows) {
      list.append(this.sentence(letter, role, name, attempt[ATTEMPT[text]], score, attempt[ATTEMPT[score]], attempt[ATTEMPT[contradiction]]));
    }
    return list;
  }

  sentence(letter, role, name, text, symbol, similarity, contradiction) {
    const row = make("div", { class: `sentence ${role}` },
      make("dt", {}, make("span", { "aria-hidden": "true" }, letter), make("span", { class: "hidden" }, name)));
    row.append(text == null ? make("dd", { class: "none" }, "not written") : make("dd", { dir: "auto" }, text));
    if (similarity != null) {
      const cell = make("dd", { class: "similarity" }, make("span", { class: "hidden" }, "similarity to the anchor"), " ",
        make("i", {}, symbol), ` ${similarity.toFixed(1)}`);
      if (contradiction != null) {
        cell.append(make("span", { class: "contradiction" },
          make("span", { class: "hidden" }, ", probability that it contradicts the anchor"), " ",
          make("i", {}, "c"), ` ${contradiction.toFixed(2)}`));
      }
      row.append(cell);
    }
    return row;
  }

  story(story) {
    if (story.length === FIRST) return make("p", { class: "why" }, "Nothing was written for it yet.");
    const rounds = make("ol", { class: "rounds" });
    for (const attempt of story.slice(FIRST)) {
      const round = make("li", {}, make("h3", {}, `Round ${(attempt[ATTEMPT.round] ?? 0) + 1}`));
      if (attempt[ATTEMPT.positive] != null) round.append(this.triplet("", attempt, false));
      for (const text of this.told(attempt)) round.append(make("p", { class: "why" }, text));
      rounds.append(round);
    }
    return rounds;
  }

  // What happened to an attempt, in sentences.
  told(attempt) {
    const { chain } = this.stories.data;
    const word = (field) => this.stories.word(attempt, field);
    const out = [];
    const mode = word("mode");
    if (mode) out.push({ contrast: "Written by contrastive decoding.", plain: "Written by plain prompting." }[mode] ?? `Written by ${mode}.`);
    if (attempt[ATTEMPT.swapped]) out.push("Positive and hard negative changed places.");
    if (attempt[ATTEMPT.writtenPositive] !== undefined) {
      out.push(`The generator had written: “${attempt[ATTEMPT.writtenPositive]}” and “${attempt[ATTEMPT.writtenNegative]}”.`);
    }
    const status = STATUSES[attempt[ATTEMPT.status] ?? 0];
    const [filter, reason, detail] = [word("filter"), word("reason"), attempt[ATTEMPT.detail]];
    const before = chain.indexOf(filter.replace(/^filter /, ""));
    if (before > 0) out.push(`Passed ${chain.slice(0, before).join(", ")}.`);
    if (word("reviewer")) out.push(`${status === "accepted" ? "Accepted" : "Rejected"} by ${word("reviewer")}.`);
    else if (status === "accepted") out.push(chain.length ? `Accepted by ${chain.join(", ")}.` : "Accepted: no filter is on.");
    else if (status === "pending") out.push("Not decided: the judge or the filters have not seen it, or an earlier round was accepted.");
    else out.push(`${status === "failed" ? "Failed" : "Rejected"} by ${filter}: ${reason}${detail ? ` (${detail})` : ""}.`);
    return out;
  }
}
