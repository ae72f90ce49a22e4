// Draws the figures in the colours of the page, again when the reader's theme changes, and sorts
// tables by a click on a column's head.
(function () {
  "use strict";
  const specs = JSON.parse(document.getElementById("figures").textContent);
  const places = [...document.querySelectorAll(".plot")];

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  }

  function themed(spec) {
    const { data, layout } = JSON.parse(JSON.stringify(spec));
    for (const trace of data) {
      const named = typeof trace.meta.colour === "string";
      const own = colour(named ? trace.meta.colour : "c" + trace.meta.colour);
      if (trace.line) trace.line.color = own;
      if (trace.type === "box") trace.fillcolor = own + "40";
      if (trace.type === "surface") trace.colorscale = [[0, own], [1, own]];
      if (trace.marker) {
        trace.marker.color = own;
        trace.marker.line.color = trace.meta.front ? colour("ink") : own;
      }
      for (const bar of [trace.error_x, trace.error_y]) if (bar) bar.color = own + "80";
    }
    const soft = colour("soft");
    Object.assign(layout, {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: soft },
      hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink") } },
    });
    const scene = layout.scene ?? {};
    for (const axis of [layout.xaxis, layout.yaxis, scene.xaxis, scene.yaxis, scene.zaxis])
      if (axis) Object.assign(axis, { gridcolor: colour("grid"), linecolor: colour("line"), zerolinecolor: colour("line"), showline: true });
    for (const note of layout.annotations) note.font.color = colour("ink");
    for (const shape of layout.shapes) {
      shape.line.color = soft;
      if (shape.type === "rect") shape.fillcolor = colour("c2") + "2b";
      if (shape.label) shape.label.font.color = soft;
    }
    return { data, layout };
  }

  const canvas = document.createElement("canvas");
  const solid = Boolean(canvas.getContext("webgl2") ?? canvas.getContext("webgl"));

  function draw() {
    places.forEach(function (place, index) {
      if (specs[index].layout.scene && !solid) {
        place.textContent = "This browser draws nothing in space (it has no WebGL). The figures in the plane hold the same.";
        place.classList.add("absent");
        return;
      }
      const { data, layout } = themed(specs[index]);
      // Seen from farther away, the titles of the axes fit a narrow figure.
      if (layout.scene && place.clientWidth < 600)
        for (const axis of ["x", "y", "z"]) layout.scene.camera.eye[axis] *= 1.25;
      // The wheel belongs to the page, not to a figure that happens to be under it.
      const options = { displayModeBar: false, responsive: true, scrollZoom: false };
      Plotly.react(place, data, layout, options);
    });
  }

  function value(row, column) {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent.trim();
    const number = text === "" ? NaN : Number(text);
    return Number.isNaN(number) ? text : number;
  }

  function compare(a, b) {
    if (a === "" || b === "") return a === b ? 0 : a === "" ? 1 : -1;
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(b);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach(function (head, column) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", function () {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const rows = [...body.rows].sort((a, b) => compare(value(a, column), value(b, column)));
        body.append(...(down ? rows.reverse() : rows));
      });
    });
  }

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
