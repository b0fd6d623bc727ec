"use strict";

// Sort a table by a click on a column's head, by the cells' data-value, best first.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const usual = head.dataset.first || "descending";
      const other = usual === "descending" ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === usual ? other : usual;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
        const numbers = [Number(value(a)), Number(value(b))];
        return sign * (numbers.some(Number.isNaN) ? value(a).localeCompare(value(b)) : numbers[0] - numbers[1]);
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    });
  });
}

// Draw differences between two selected systems by the selected measure, one bar per query.
const NAMESPACE = "http://www.w3.org/2000/svg";
const WIDTH = 1040, HEIGHT = 230, LEFT = 46, MIDDLE = HEIGHT / 2, REACH = MIDDLE - 14;

function element(name, attributes, text) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Format a difference with its sign, or without one if it rounds to zero.
function signed(difference) {
  const text = difference.toFixed(4);
  return Number(text) === 0 ? text.replace("-", "") : `${difference > 0 ? "+" : ""}${text}`;
}

for (const figure of document.querySelectorAll("figure.differences")) {
  const data = JSON.parse(document.getElementById(figure.dataset.values).textContent);
  const [first, second, measure] = figure.querySelectorAll("select");
  const plot = figure.querySelector(".plot");
  const summary = figure.querySelector(".summary");
  const detail = figure.querySelector(".detail");

  const draw = () => {
    const ours = data.values[first.value][measure.value];
    const theirs = data.values[second.value][measure.value];
    const bars = data.queries.map((id, at) => ({ id, at, ours: ours[at], theirs: theirs[at], by: ours[at] - theirs[at] }));
    bars.forEach((bar) => { if (Math.abs(bar.by) < 1e-9) bar.by = 0; });
    bars.sort((a, b) => b.by - a.by || a.at - b.at);
    const most = Math.max(...bars.map((bar) => Math.abs(bar.by)), 1e-9);
    const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${measure.value} of each query: ${first.value} minus ${second.value}` });
    for (const tick of [-most, -most / 2, 0, most / 2, most]) {
      const y = MIDDLE - (tick / most) * REACH;
      svg.append(element("line", { class: tick ? "grid" : "axis", x1: LEFT, x2: WIDTH, y1: y, y2: y }));
      svg.append(element("text", { class: "tick end", x: LEFT - 6, y: y + 4 }, tick.toFixed(2)));
    }
    const step = (WIDTH - LEFT) / bars.length;
    bars.forEach((bar, place) => {
      const tall = (Math.abs(bar.by) / most) * REACH;
      svg.append(element("rect", {
        class: `bar c${bar.by > 0 ? data.colours[first.value] : data.colours[second.value]}`,
        x: (LEFT + place * step).toFixed(2), width: Math.max(step - (step > 3 ? 1 : 0), 0.6).toFixed(2),
        y: (bar.by > 0 ? MIDDLE - tall : MIDDLE).toFixed(2), height: tall.toFixed(2),
      }));
    });
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const place = Math.floor((((event.clientX - box.left) / box.width) * WIDTH - LEFT) / step);
      const bar = bars[Math.min(Math.max(place, 0), bars.length - 1)];
      const strong = document.createElement("strong");
      strong.textContent = bar.id;
      const text = data.texts[bar.id] ? ` ${data.texts[bar.id]}` : "";
      detail.replaceChildren(strong, `${text} — ${first.value} ${bar.ours.toFixed(4)}, ${second.value} ${bar.theirs.toFixed(4)} (${signed(bar.by)})`);
    });
    plot.replaceChildren(svg);
    const wins = bars.filter((bar) => bar.by > 0).length, losses = bars.filter((bar) => bar.by < 0).length;
    const mean = bars.reduce((sum, bar) => sum + bar.by, 0) / bars.length;
    summary.textContent = `${first.value} is better on ${wins} queries, equal on ${bars.length - wins - losses}, `
      + `worse on ${losses}; mean difference ${signed(mean)}`;
  };
  for (const select of [first, second, measure]) select.addEventListener("change", draw);
  draw();
}
