"use strict";
// The page around the charts: search, selection and theme. Text of the user's code is only ever set
// as text, never as markup.
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const models = [...document.querySelectorAll("details.model")].map((element) => ({
    element,
    data: page.models[Number(element.dataset.model)],
    selected: -1,
    views: [],
    detail: null,
    drawn: false,
  }));
  let query = "";

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

  function look() {
    const style = getComputedStyle(root);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    const text = color("text");
    return {
      background: "transparent",
      font: "system-ui, sans-serif",
      view: { stroke: color("line") },
      axis: {
        labelColor: text, titleColor: color("dim"), domainColor: color("line"),
        tickColor: color("line"), gridColor: color("line"), gridOpacity: 0.5,
        titleFontWeight: 400, labelFontSize: 11,
      },
      axisY: { labelLimit: 160 },
      legend: { labelColor: text, titleColor: color("dim"), titleFontWeight: 400 },
      range: { category: color("series").split(",").map((each) => each.trim()) },
      text: { color: text },
      style: {
        cell: { stroke: text },
        bar: { stroke: text },
        word: { fill: text, fontSize: 10 },
        barlabel: { fill: text, fontSize: 10, align: "left", dx: 4 },
        marked: { color: color("error"), strokeWidth: 1.5 },
        marklabel: { fill: text, fontSize: 11, fontWeight: 600 },
      },
    };
  }

  // More marks than this are quicker as pixels than as elements.
  const most = 4000;

  async function embed(element, spec, model) {
    const many = spec.data && spec.data.values.length > most;
    const result = await vegaEmbed(element, spec, {
      mode: "vega-lite", renderer: many ? "canvas" : "svg", actions: false, config: look(),
      // Expressions are interpreted, so that the page needs no right to evaluate text.
      ast: true,
      tooltip: { theme: isDark() ? "dark" : "light" },
    });
    if (model) {
      result.view.addEventListener("click", (_, item) => {
        if (item && item.datum && Number.isInteger(item.datum.i)) select(model, item.datum.i, true);
      });
    }
    return result;
  }

  async function draw(model) {
    model.drawn = true;
    const old = model.views;
    model.views = [];
    old.forEach((each) => each.finalize());
    for (const element of model.element.querySelectorAll(".vega[data-chart]")) {
      const spec = model.data.charts[element.dataset.chart];
      const layered = Boolean(spec.params);
      const shown = layered ? { ...spec, params: signals(model) } : spec;
      const view = await embed(element, shown, layered ? model : null);
      view.layered = layered;
      model.views.push(view);
    }
    model.element.dataset.drawn = "";
  }

  function signals(model) {
    return [{ name: "query", value: query }, { name: "selected", value: model.selected }];
  }

  // --- what is selected ---

  function make(tag, text, parent, name) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    if (name) element.className = name;
    if (parent) parent.append(element);
    return element;
  }

  function place(title, at, parent) {
    if (!at) return;
    make("p", `${title} ${at.text}`, parent, "place");
    if (!at.code.length) return;
    const code = make("pre", null, parent, "code");
    code.tabIndex = 0;
    code.setAttribute("aria-label", `Code at ${at.text}`);
    for (const [number, before, marked, after] of at.code) {
      const line = make("span", null, code, marked ? "line hit" : "line");
      make("span", number, line, "no").setAttribute("aria-hidden", "true");
      const text = make("span", before, line);
      if (marked) make("mark", marked, text);
      text.append(after);
    }
  }

  function tiles(pairs, parent) {
    const list = make("dl", null, parent, "tiles");
    for (const [label, text] of pairs) {
      const pair = make("div", null, list);
      make("dt", label, pair);
      make("dd", text, pair);
    }
  }

  function table(titles, rows, parent) {
    const box = make("div", null, parent, "scroll");
    const element = make("table", null, box);
    const head = make("tr", null, make("thead", null, element));
    titles.forEach((title, i) => { make("th", title, head, i ? "n" : "").scope = "col"; });
    const body = make("tbody", null, element);
    for (const row of rows) {
      const line = make("tr", null, body);
      row.forEach((cell, i) => make("td", cell, line, i ? "n" : ""));
    }
  }

  async function describe(model) {
    const box = model.element.querySelector(".chosen");
    const layer = model.data.layers[model.selected];
    if (model.detail) model.detail.finalize();
    model.detail = null;
    box.replaceChildren();
    if (!layer) {
      make("p", "Select a layer in the table or in a chart to see its numbers and its code.", box, "hint");
      return;
    }
    make("code", layer.name, make("h4", null, box));
    tiles(layer.facts, box);
    for (const index of layer.findings) {
      const finding = model.data.findings[index];
      const text = make("p", null, box);
      make("span", finding.severity, text, `badge ${finding.severity}`);
      text.append(` ${finding.message} [${finding.rule}]`);
    }
    if (layer.gradients.length > 1) {
      const shown = layer.gradients.slice(-12);
      const first = layer.gradients.length - shown.length;
      tiles(shown.map((value, i) => [`step ${first + i + 1}`, value]), box);
    }
    table(["parameter", "shape", "size", "gradient", "update"], layer.parameters, box);
    place("called at", layer.called, box);
    place("built at", layer.built, box);
    const kinds = Object.keys(layer.histograms);
    if (kinds.length) {
      const figure = make("figure", null, box);
      make("figcaption", "Values by magnitude at the last step", figure);
      // What is empty at both ends is left out.
      const used = page.bins.map((_, i) => kinds.some((kind) => layer.histograms[kind][i] > 0));
      const [first, last] = [used.indexOf(true) - 1, used.lastIndexOf(true) + 1];
      const values = kinds.flatMap((series) => {
        const counts = layer.histograms[series];
        const total = counts.reduce((a, b) => a + b, 0) || 1;
        return counts
          .map((count, i) => ({ i, bin: page.bins[i], series, share: count / total }))
          .filter(({ i }) => i >= first && i <= last);
      });
      const element = make("div", null, figure, "vega");
      model.detail = await embed(element, { ...page.histogram, data: { values } }, null);
    }
  }

  function select(model, index, reveal) {
    model.selected = index === model.selected ? -1 : index;
    for (const row of model.element.querySelectorAll("table.layers tbody tr")) {
      const chosen = Number(row.dataset.layer) === model.selected;
      row.classList.toggle("selected", chosen);
      row.querySelector("button").setAttribute("aria-pressed", String(chosen));
      if (chosen && reveal) {
        const box = row.closest(".scroll");
        box.scrollTop = row.offsetTop - box.clientHeight / 2;
      }
    }
    for (const { view } of model.views.filter((each) => each.layered)) {
      view.signal("selected", model.selected).runAsync();
    }
    describe(model);
  }

  // --- what is searched for ---

  function search(text) {
    query = text.trim().toLowerCase();
    let found = 0;
    for (const model of models) {
      let here = 0;
      for (const row of model.element.querySelectorAll("table.layers tbody tr")) {
        const name = model.data.layers[Number(row.dataset.layer)].name.toLowerCase();
        row.hidden = !name.includes(query);
        here += row.hidden ? 0 : 1;
      }
      const nothing = model.element.querySelector(".nothing");
      if (nothing) nothing.hidden = here > 0;
      found += here;
      for (const { view } of model.views.filter((each) => each.layered)) {
        view.signal("query", query).runAsync();
      }
    }
    document.getElementById("matches").textContent = query ? `${found} found` : "";
  }

  // --- the page's own controls ---

  const button = document.getElementById("theme");

  function themed() {
    button.setAttribute("aria-pressed", String(isDark()));
    return Promise.all(models.filter((model) => model.drawn).map(async (model) => {
      await draw(model);
      if (model.detail) await describe(model);
    }));
  }

  button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    themed();
  });
  dark.addEventListener("change", themed);
  const field = document.getElementById("search");
  field.addEventListener("input", () => search(field.value));
  field.addEventListener("keydown", (event) => {
    const first = document.querySelector("details[open] table.layers tbody tr:not([hidden]) button");
    if ((event.key === "Enter" || event.key === "ArrowDown") && first) {
      event.preventDefault();
      first.focus();
      if (event.key === "Enter" && first.getAttribute("aria-pressed") === "false") first.click();
    }
  });

  for (const model of models) {
    model.element.addEventListener("click", (event) => {
      const row = event.target.closest("table.layers tbody tr");
      const pick = event.target.closest("button.pick");
      if (row) select(model, Number(row.dataset.layer), false);
      if (pick) {
        const index = Number(pick.dataset.layer);
        if (model.selected !== index) select(model, index, true);
        model.element.querySelector(".chosen").scrollIntoView({ block: "center" });
      }
    });
    model.element.addEventListener("keydown", (event) => {
      const row = event.target.closest("table.layers tbody tr");
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!row || !step) return;
      const rows = [...row.parentElement.children].filter((each) => !each.hidden);
      const next = rows[rows.indexOf(row) + step];
      event.preventDefault();
      if (next) next.querySelector("button").focus();
    });
    model.element.addEventListener("toggle", () => {
      if (model.element.open && !model.drawn) draw(model);
    });
  }

  Promise.all(models.filter((model) => model.element.open).map(draw)).then(() => {
    root.dataset.ready = String(Math.round(performance.now()));
  });
})();
