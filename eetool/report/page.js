// Draws every chart and turns the knob. What it shows was computed before: nothing here calculates a figure.
(async () => {
  const { points, start, figures } = JSON.parse(document.getElementById("report").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const views = [];
  for (const [name, spec] of Object.entries(figures)) {
    const made = await vegaEmbed(document.getElementById(`figure-${name}`), spec, {
      actions: false, renderer: "svg", tooltip: { theme: dark ? "dark" : "light" },
    });
    if ("point" in made.view.getState().signals) views.push(made.view);
  }
  const knob = document.getElementById("knob");
  const turn = async (place) => {
    const point = points[place];
    for (const [field, text] of Object.entries(point.shown)) {
      document.getElementById(`shown-${field}`).textContent = text;
    }
    knob?.setAttribute("aria-valuetext", point.name);
    for (const row of document.querySelectorAll("tr[data-net]")) {
      row.classList.toggle("here", row.dataset.net === point.name);
    }
    for (const view of views) await view.signal("point", point.name).runAsync();
  };
  if (knob) {
    knob.addEventListener("input", () => turn(Number(knob.value)));
    await turn(start);
  }
  document.body.dataset.ready = "yes";
})();
