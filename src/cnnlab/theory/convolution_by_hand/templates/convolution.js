"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (name) => document.getElementById(name);
  const cells = (table) => [...table.tBodies[0].rows].map((row) => [...row.cells].slice(1));
  const all = (selector) => [...document.querySelectorAll(selector)];
  const images = all("table.image").map(cells);
  const used = all("table.used").map(cells);
  const products = all("table.products").map(cells);
  const outputs = all("table.output").map(cells);
  const windows = all(".window");
  const [high, wide] = data.kernel;
  const [rows, columns] = data.output;
  const each = rows * columns;
  const count = data.steps.length;
  const pause = 900;
  let now = 0;
  let seen = all("td.seen");
  let timer = null;

  const numberOf = (kernel, row, column) => kernel * each + row * columns + column;

  function showWindow(step) {
    for (const cell of seen) cell.classList.remove("seen");
    seen = [];
    const top = step.row * data.stride[0];
    const left = step.column * data.stride[1];
    const lowest = top + data.dilation[0] * (high - 1);
    const rightmost = left + data.dilation[1] * (wide - 1);
    images.forEach((image, channel) => {
      for (let m = 0; m < high; m += 1) {
        for (let n = 0; n < wide; n += 1) {
          seen.push(image[top + m * data.dilation[0]][left + n * data.dilation[1]]);
        }
      }
      const first = image[top][left];
      const last = image[lowest][rightmost];
      const frame = windows[channel].style;
      frame.top = `${first.offsetTop}px`;
      frame.left = `${first.offsetLeft}px`;
      frame.height = `${last.offsetTop + last.offsetHeight - first.offsetTop}px`;
      frame.width = `${last.offsetLeft + last.offsetWidth - first.offsetLeft}px`;
      keepInView(first, last);
    });
    for (const cell of seen) cell.classList.add("seen");
  }

  // Scrolls a large map, and never the page, so that these cells are seen beside its numbers.
  function keepInView(first, last) {
    const box = first.closest(".scroll");
    const side = first.closest("tr").firstElementChild.offsetWidth + 4;
    const edge = 24;
    const right = last.offsetLeft + last.offsetWidth;
    const bottom = last.offsetTop + last.offsetHeight;
    if (right > box.scrollLeft + box.clientWidth) box.scrollLeft = right - box.clientWidth + 6;
    if (first.offsetLeft < box.scrollLeft + side) box.scrollLeft = first.offsetLeft - side;
    if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight + 6;
    if (first.offsetTop < box.scrollTop + edge) box.scrollTop = first.offsetTop - edge;
  }

  function showNumbers(step) {
    for (let channel = 0; channel < data.channels; channel += 1) {
      for (let m = 0; m < high; m += 1) {
        for (let n = 0; n < wide; n += 1) {
          used[channel][m][n].textContent = data.used[step.kernel][channel][m][n];
          products[channel][m][n].textContent = step.products[(channel * high + m) * wide + n];
        }
      }
    }
    for (const label of all(".of")) label.textContent = String(step.kernel);
    byId("place").textContent = `y[${data.several ? `${step.kernel}, ` : ""}${step.row}, ${step.column}]`;
    byId("text").textContent = step.text;
  }

  function showOutput(from, to) {
    const [low, top] = from < to ? [from, to] : [to, from];
    for (let number = low; number <= top; number += 1) {
      const step = data.steps[number];
      const cell = outputs[step.kernel][step.row][step.column];
      cell.classList.toggle("later", number > now);
      cell.classList.toggle("now", number === now);
    }
    const { kernel, row, column } = data.steps[now];
    keepInView(outputs[kernel][row][column], outputs[kernel][row][column]);
  }

  function show(number) {
    const before = now;
    now = Math.min(Math.max(number, 0), count - 1);
    const step = data.steps[now];
    showNumbers(step);
    showWindow(step);
    showOutput(before, now);
    byId("slider").value = String(now + 1);
    byId("count").textContent = `step ${now + 1} of ${count}`;
    byId("previous").disabled = now === 0;
    byId("next").disabled = now === count - 1;
    if (byId("kernel")) byId("kernel").value = String(step.kernel);
  }

  // The address keeps the step, so that a page can be opened at it; a browser may refuse that.
  function go(number) {
    show(number);
    try {
      history.replaceState(null, "", `#step=${now + 1}`);
    } catch {
      // then the address stays as it is
    }
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    byId("play").textContent = "Play";
  }

  function play() {
    if (timer !== null) {
      stop();
      return;
    }
    if (now === count - 1) go(0);
    byId("play").textContent = "Pause";
    timer = setInterval(() => {
      go(now + 1);
      if (now === count - 1) stop();
    }, pause);
  }

  function byHand(number) {
    stop();
    go(number);
  }

  function fromAddress() {
    const found = /^#step=(\d+)$/.exec(location.hash);
    return found ? Number(found[1]) - 1 : now;
  }

  byId("previous").addEventListener("click", () => byHand(now - 1));
  byId("next").addEventListener("click", () => byHand(now + 1));
  byId("play").addEventListener("click", play);
  byId("slider").addEventListener("input", (event) => byHand(Number(event.target.value) - 1));
  if (byId("kernel")) {
    byId("kernel").addEventListener("change", (event) => byHand(Number(event.target.value) * each + (now % each)));
  }
  document.addEventListener("keydown", (event) => {
    // A slider and a menu have their own use for these keys.
    if (event.target.closest?.("input, select") || event.altKey || event.ctrlKey || event.metaKey) return;
    const moves = { ArrowRight: 1, ArrowLeft: -1 };
    if (event.key in moves) {
      event.preventDefault();
      byHand(now + moves[event.key]);
    }
  });
  outputs.forEach((output, kernel) =>
    output.forEach((row, at) =>
      row.forEach((cell, column) => cell.addEventListener("click", () => byHand(numberOf(kernel, at, column)))),
    ),
  );
  window.addEventListener("hashchange", () => show(fromAddress()));
  window.addEventListener("resize", () => showWindow(data.steps[now]));

  byId("controls").hidden = false;
  document.body.classList.add("stepping");
  data.steps.forEach((step) => outputs[step.kernel][step.row][step.column].classList.add("later"));
  showOutput(0, 0);
  show(fromAddress());
})();
