// α, β and γ that can be moved, and what they would accept.
class Recount {
  constructor(stories, changed) {
    this.stories = stories;
    this.changed = changed;
    this.run = stories.data.thresholds;
    this.limits = { ...this.run };
    this.svg = document.querySelector("svg.scatter");
    this.plot = this.svg.dataset.plot.split(" ").map(Number);
    this.marks = [...this.svg.querySelectorAll("[data-a]")].map((node) => ({
      node, a: Number(node.dataset.a), b: Number(node.dataset.b), accepted: node.classList.contains("accepted"),
      rejected: node.classList.contains("rejected"),
    }));
    for (const name of Object.keys(SYMBOLS)) {
      byId(`limit-${name}`).addEventListener("input", (event) => this.move(name, event.target.valueAsNumber));
      this.drag(name);
    }
    byId("recount-reset").addEventListener("click", () => { this.limits = { ...this.run }; this.show(); });
    byId("recount").hidden = false;
    this.show();
  }

  x(a) { return this.plot[0] + (a / TOP) * (this.plot[1] - this.plot[0]); }
  y(b) { return this.plot[2] + (b / TOP) * (this.plot[3] - this.plot[2]); }

  move(name, value) {
    const low = name === "gamma" ? -TOP : 0;
    this.limits[name] = Math.min(TOP, Math.max(low, Number(value.toFixed(4))));
    this.show();
  }

  drag(name) {
    const line = this.svg.querySelector(`[data-line="${name}"]`);
    if (!line) return;
    const grip = document.createElementNS(SVG, "line");
    grip.setAttribute("class", `grip ${name}`);
    grip.dataset.grip = name;
    this.svg.append(grip);
    grip.addEventListener("pointerdown", (event) => { grip.setPointerCapture(event.pointerId); event.preventDefault(); });
    grip.addEventListener("pointermove", (event) => {
      if (!grip.hasPointerCapture(event.pointerId)) return;
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
      const a = ((at.x - this.plot[0]) / (this.plot[1] - this.plot[0])) * TOP;
      const b = ((at.y - this.plot[2]) / (this.plot[3] - this.plot[2])) * TOP;
      const step = Number(byId(`limit-${name}`).step);
      this.move(name, Math.round({ alpha: a, beta: b, gamma: a - b }[name] / step) * step);
    });
  }

  show() {
    this.draw();
    const now = this.stories.accepted(this.limits);
    this.gained = [];
    this.lost = [];
    let [count, unseen] = [0, 0];
    now.forEach((attempt, story) => {
      if (attempt >= 0) count += 1;
      const was = this.stories.before[story] >= 0;
      if (attempt >= 0 && !was) {
        this.gained.push(story);
        if (this.stories.later.size) unseen += 1;
      } else if (attempt < 0 && was) this.lost.push(story);
    });
    const moved = Object.keys(SYMBOLS).some((name) => this.limits[name] !== this.run[name]);
    const total = this.stories.all.length;
    const share = total ? ((100 * count) / total).toFixed(1) : "0.0";
    byId("recount-count").textContent = number(count);
    let text = `of ${sentences(total)} (${share} %)`;
    if (moved) text += `: ${number(this.gained.length)} more and ${number(this.lost.length)} fewer than in the run.`;
    else text += ", as in the run.";
    if (unseen) {
      const filters = [...this.stories.later].join(", ");
      text += ` What is new has yet to be seen by ${filters}, so at most as many would stay.`;
    }
    byId("recount-text").textContent = text;
    byId("recount-command").textContent =
      `multicsr filter RUN ${Object.keys(SYMBOLS).map((name) => `--${name} ${this.limits[name]}`).join(" ")}`;
    byId("recount-apply").hidden = !moved;
    byId("recount-reset").disabled = !moved;
    byId("recount").classList.toggle("moved", moved);
    this.changed(this.moved = moved);
  }

  draw() {
    const { alpha, beta, gamma } = this.limits;
    for (const name of Object.keys(SYMBOLS)) {
      const input = byId(`limit-${name}`);
      input.value = this.limits[name];
      input.setAttribute("aria-valuetext", `${SYMBOLS[name]} = ${signedText(this.limits[name])}`);
      byId(`limit-${name}-value`).textContent = signedText(this.limits[name]);
    }
    const ends = {
      alpha: [[alpha, 0], [alpha, TOP]],
      beta: [[0, beta], [TOP, beta]],
      gamma: [[Math.max(gamma, 0), Math.max(-gamma, 0)], [Math.min(TOP, TOP + gamma), Math.min(TOP, TOP - gamma)]],
    };
    for (const [name, [one, two]] of Object.entries(ends)) {
      const points = { x1: this.x(one[0]), y1: this.y(one[1]), x2: this.x(two[0]), y2: this.y(two[1]) };
      for (const node of this.svg.querySelectorAll(`[data-line="${name}"], [data-grip="${name}"]`)) {
        for (const [key, value] of Object.entries(points)) node.setAttribute(key, value.toFixed(1));
      }
      const label = this.svg.querySelector(`[data-label="${name}"]`);
      if (!label) continue;
      label.textContent = `${SYMBOLS[name]} = ${signedText(this.limits[name])}`;
      if (name === "alpha") label.setAttribute("x", (this.x(alpha) + (alpha < 1 ? 5 : -5)).toFixed(1));
      if (name === "alpha") label.setAttribute("text-anchor", alpha < 1 ? "start" : "end");
      if (name === "beta") label.setAttribute("y", (this.y(beta) + (beta > 4.6 ? 16 : -6)).toFixed(1));
      if (name === "gamma") {
        const [x, y] = [this.x(one[0]) + 8, this.y(one[1]) - 16];
        label.setAttribute("x", x.toFixed(1));
        label.setAttribute("y", y.toFixed(1));
        label.setAttribute("transform", `rotate(-45 ${x.toFixed(1)} ${y.toFixed(1)})`);
      }
    }
    let inside = [[0, 0], [TOP, 0], [TOP, TOP], [0, TOP]];
    inside = clip(clip(clip(inside, 1, 0, alpha), 0, -1, -beta), 1, -1, gamma);
    const corners = inside.map(([a, b]) => `${this.x(a).toFixed(1)},${this.y(b).toFixed(1)}`).join(" ");
    this.svg.querySelector(".region")?.setAttribute("points", corners);
    for (const { node, a, b, accepted, rejected } of this.marks) {
      const [now, was] = [within(a, b, this.limits), within(a, b, this.run)];
      node.classList.toggle("lost", accepted && was && !now);
      node.classList.toggle("gained", rejected && now && !was);
    }
    for (const [kind, name] of [["positive", "alpha"], ["negative", "beta"]]) {
      const svg = document.querySelector(`svg.${kind}`);
      const line = svg?.querySelector(`[data-line="${name}"]`);
      const label = svg?.querySelector(`[data-label="${name}"]`);
      if (!line || !label) continue;
      const [left, right] = svg.dataset.plot.split(" ").map(Number);
      const [value, late] = [this.limits[name], this.limits[name] > TOP / 2];
      const x = left + (value / TOP) * (right - left);
      line.setAttribute("x1", x.toFixed(1));
      line.setAttribute("x2", x.toFixed(1));
      label.setAttribute("x", (x + (late ? -5 : 5)).toFixed(1));
      label.setAttribute("text-anchor", late ? "end" : "start");
      label.textContent = `${SYMBOLS[name]} = ${signedText(value)}`;
    }
  }
}

function within(a, b, limits) {
  return a >= limits.alpha && b <= limits.beta && a >= b + limits.gamma;
}

// The part of a convex polygon where p·a + q·b ≥ low (Sutherland and Hodgman).
function clip(polygon, p, q, low) {
  const out = [];
  polygon.forEach(([a1, b1], at) => {
    const [a2, b2] = polygon[(at + 1) % polygon.length];
    const [here, there] = [p * a1 + q * b1 - low, p * a2 + q * b2 - low];
    if (here >= 0) out.push([a1, b1]);
    if (here < 0 !== there < 0) {
      const share = here / (here - there);
      out.push([a1 + share * (a2 - a1), b1 + share * (b2 - b1)]);
    }
  });
  return out;
}
