// The sentences' stories as pairs.py packs them, and what all of the page's scripts use.
const STATUSES = ["pending", "accepted", "rejected", "failed"];
const SYMBOLS = { alpha: "α", beta: "β", gamma: "γ" };
const TOP = 5;
const PAGE = 20;
// The fields of a story, then those of an attempt, in the order of pairs.py.
const [ID, LINE, TEXT, ENDED, FIRST] = [0, 1, 2, 3, 4];
const ATTEMPT = {
  status: 0, positive: 1, negative: 2, a: 3, b: 4, decides: 5, filter: 6, reason: 7, detail: 8,
  contradictionPositive: 9, contradictionNegative: 10, swapped: 11, round: 12, mode: 13, reviewer: 14,
  writtenPositive: 15, writtenNegative: 16,
};
const [CURATED, ALWAYS] = [1, 2];
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en-US");
const sentences = (value) => `${number(value)} ${value === 1 ? "sentence" : "sentences"}`;
const signedText = (value) => String(Number(value.toFixed(2))).replace("-", "−");

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

async function unpack(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

class Stories {
  constructor(data) {
    this.data = data;
    this.all = data.stories;
    this.words = data.words;
    this.later = new Set(data.later);
    this.start = new Int32Array(this.all.length + 1);
    this.all.forEach((story, at) => { this.start[at + 1] = this.start[at] + story.length - FIRST; });
    const total = this.start[this.all.length];
    const column = (field) => {
      const values = new Float64Array(total).fill(NaN);
      this.eachAttempt((attempt, at) => {
        const value = attempt[field];
        if (value !== undefined && value !== null) values[at] = value;
      });
      return values;
    };
    this.a = column(ATTEMPT.a);
    this.b = column(ATTEMPT.b);
    this.c = column(ATTEMPT.contradictionPositive);
    this.d = column(ATTEMPT.contradictionNegative);
    this.decides = column(ATTEMPT.decides);
    // Curation is satisfied, if it is off, by everything; then nothing can be moved.
    this.before = data.thresholds ? this.accepted(data.thresholds) : null;
  }

  eachAttempt(visit) {
    let at = 0;
    for (const story of this.all) for (let n = FIRST; n < story.length; n += 1) visit(story[n], at++);
  }

  passes(at, limits) {
    const { contradiction } = this.data;
    if (!(this.a[at] >= limits.alpha && this.b[at] <= limits.beta && this.a[at] >= this.b[at] + limits.gamma)) {
      return false;
    }
    return contradiction === null || (this.d[at] >= contradiction && this.c[at] + contradiction <= 1);
  }

  // For each sentence the number of its first attempt that would be accepted, or −1.
  accepted(limits) {
    const found = new Int32Array(this.all.length).fill(-1);
    for (let story = 0; story < found.length; story += 1) {
      for (let at = this.start[story]; at < this.start[story + 1]; at += 1) {
        const decides = this.decides[at];
        if (decides === ALWAYS || (decides === CURATED && this.passes(at, limits))) {
          found[story] = at - this.start[story];
          break;
        }
      }
    }
    return found;
  }

  // The attempt that decided a sentence: the accepted one, else the last that was decided, else the last.
  deciding(story) {
    let last = null;
    for (let n = FIRST; n < story.length; n += 1) {
      const status = story[n][ATTEMPT.status] ?? 0;
      if (status === 1 || last === null || status !== 0) last = story[n];
      if (status === 1) break;
    }
    return last;
  }

  word(attempt, field) {
    return this.words[attempt?.[ATTEMPT[field]] ?? 0];
  }

  // By how much every threshold would have to move for curation to decide otherwise about what decided a sentence.
  distance(story) {
    const attempt = this.deciding(story);
    const limits = this.data.thresholds;
    if (!limits || !attempt || attempt[ATTEMPT.decides] !== CURATED || attempt[ATTEMPT.a] == null) return Infinity;
    const [a, b] = [attempt[ATTEMPT.a], attempt[ATTEMPT.b]];
    return Math.abs(Math.min(a - limits.alpha, limits.beta - b, a - b - limits.gamma));
  }

  haystack(at) {
    this.texts ??= this.all.map((story) => {
      const parts = [story[TEXT]];
      for (let n = FIRST; n < story.length; n += 1) {
        parts.push(story[n][ATTEMPT.positive] ?? "", story[n][ATTEMPT.negative] ?? "", story[n][ATTEMPT.detail] ?? "");
      }
      return parts.join("\n").toLowerCase();
    });
    return this.texts[at];
  }
}
