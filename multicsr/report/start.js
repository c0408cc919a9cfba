// What the page does beyond being read: a browser of all sentences, and α, β and γ that can be moved. Everything it
// needs stands in the page; without it, the page shows examples. Texts only ever become text nodes.
async function start() {
  const packed = byId("stories");
  if (!packed || typeof DecompressionStream === "undefined") return;
  const stories = new Stories(await unpack(packed.textContent));
  packed.remove();
  if (!stories.all.length) return;
  const browser = new Browser(stories);
  if (stories.data.thresholds && byId("recount") && document.querySelector("svg.scatter .region")) {
    const recount = new Recount(stories, () => {});
    recount.changed = () => browser.changed(recount);
  }
  document.documentElement.dataset.ready = "true";
}

start();
