// Draws every chart and handles the operating-point slider. All figures were computed before.
(async () => {
  const { points, start, figures } = JSON.parse(document.getElementById("report").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const views = [];
  for (const [name, spec] of Object.entries(figures)) {
    const embedded = await vegaEmbed(document.getElementById(`figure-${name}`), spec, {
      actions: false, renderer: "svg", tooltip: { theme: dark ? "dark" : "light" },
    });
    if ("point" in embedded.view.getState().signals) views.push(embedded.view);
  }
  const slider = document.getElementById("slider");
  const show = async (place) => {
    const point = points[place];
    for (const [field, text] of Object.entries(point.shown)) {
      document.getElementById(`shown-${field}`).textContent = text;
    }
    slider?.setAttribute("aria-valuetext", point.name);
    for (const row of document.querySelectorAll("tr[data-net]")) {
      row.classList.toggle("here", row.dataset.net === point.name);
    }
    for (const view of views) await view.signal("point", point.name).runAsync();
  };
  if (slider) {
    slider.addEventListener("input", () => show(Number(slider.value)));
    await show(start);
  }
  document.body.dataset.ready = "yes";
})();
