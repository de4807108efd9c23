"use strict";
// Every text of the page goes through textContent or cloned nodes of the file, never through innerHTML.
(() => {
  const VIRTUAL = 60; // Rows above which only those in view are drawn.
  const WIDEST = innerWidth < 640 ? 140 : 320; // Pixels that a column of names may take; longer names break.
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const plain = (text) => text.replace(/\s+/g, " ").trim();

  function element(tag, text = "", className = "") {
    const made = document.createElement(tag);
    if (text !== "") made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  // ---- Tables ----------------------------------------------------------------------------------------------------

  // Numbers first whichever way, then what diverged, then what is missing.
  function compare(a, b, aRow, bRow, column, dir) {
    if (a.rank !== b.rank) return (a.rank - b.rank) * (dir === "asc" ? 1 : -1);
    return a.rank ? 0 : a.number - b.number;
  }

  function copied(cell) {
    const box = document.createElement("span");
    for (const child of cell.childNodes) box.append(child.cloneNode(true));
    return box;
  }

  // As wide as its longest text or heading's longest word asks: the library would measure the rows in view alone.
  function widthOf(head, place, rows) {
    const words = plain(head.textContent).split(" ").map((word) => word.length);
    const texts = rows.map((row) => row.cells[place].textContent.length);
    return Math.min(WIDEST, 30 + 8 * Math.max(4, ...words, ...texts));
  }

  function columnOf(head, place, rows) {
    const isNumber = head.dataset.kind === "number";
    return {
      // A title given as text would be parsed as markup; a node is put there as it is.
      title: "",
      titleFormatter: () => {
        const button = element("button", plain(head.textContent), "sort");
        button.type = "button";
        return button;
      },
      field: `c${place}`,
      cssClass: isNumber ? "number" : "name",
      hozAlign: isNumber ? "right" : "left",
      headerHozAlign: isNumber ? "right" : "left",
      headerSortStartingDir: isNumber ? "desc" : "asc",
      sorter: isNumber ? compare : (a, b) => a.text.localeCompare(b.text, "en", { numeric: true }),
      formatter: (cell) => copied(cell.getValue().node),
      variableHeight: !isNumber,
      maxWidth: isNumber ? false : WIDEST,
      minWidth: widthOf(head, place, rows),
      // Numbers are short: a heading of several words breaks rather than pushing the last columns out of sight.
      ...(isNumber ? { width: widthOf(head, place, rows) + 12 } : {}),
    };
  }

  function rowOf(row, index) {
    const made = { index };
    [...row.cells].forEach((cell, place) => {
      const rank = Number(cell.dataset.rank ?? 0);
      made[`c${place}`] = { node: cell, text: plain(cell.textContent), number: Number(cell.dataset.n), rank };
    });
    return made;
  }

  const boards = [];

  function enhance(board) {
    const source = one("table", board);
    const heads = all("thead th", source);
    const rows = all("tbody tr", source);
    const holder = element("div");
    holder.setAttribute("aria-label", plain(one("caption", source).textContent));
    one(".scroll", board).after(holder);
    board.classList.add("enhanced");
    const isLong = rows.length > VIRTUAL;
    const table = new Tabulator(holder, {
      data: rows.map(rowOf),
      columns: heads.map((head, place) => columnOf(head, place, rows)),
      columnDefaults: { headerWordWrap: true, resizable: false, tooltip: false },
      layout: "fitDataTable",
      height: isLong ? "min(36rem, 75vh)" : false,
      renderVertical: isLong ? "virtual" : "basic",
      renderHorizontal: "basic",
      headerSortTristate: true,
      nestedFieldSeparator: false,
      placeholder: "No row matches the filter.",
    });
    const made = { board, heads, rows, table, ready: false };
    table.on("rowClick", (event, row) => {
      const link = one("a[href^='#cell-']", rows[row.getData().index]);
      if (link && !event.target.closest("a") && getSelection().isCollapsed) location.hash = link.hash;
    });
    table.on("tableBuilt", () => {
      made.ready = true;
      const form = one(`form[data-for="${board.dataset.group}"]`);
      if (form) filter(form);
    });
    boards.push(made);
  }

  function filter(form) {
    const wanted = {};
    for (const field of all("[data-axis]", form)) wanted[field.dataset.axis] = plain(field.value);
    const part = (wanted.optimizer ?? "").toLowerCase();
    let shown = 0;
    let total = 0;
    for (const { board, heads, rows, table, ready } of boards) {
      if (board.dataset.group !== form.dataset.for || !ready) continue;
      const places = {};
      heads.forEach((head, place) => { if (head.dataset.axis) places[head.dataset.axis] = `c${place}`; });
      const fits = (row) => Object.entries(wanted).every(([axis, value]) => {
        if (!value || !places[axis]) return true;
        const text = row[places[axis]].text;
        return axis === "optimizer" ? text.toLowerCase().includes(part) : text === value;
      });
      table.setFilter(fits);
      // A table with a column for each model shows the chosen one's alone.
      const models = heads.map((head) => plain(head.dataset.model ?? ""));
      if (models.includes(wanted.model) || !wanted.model) {
        heads.forEach((head, place) => {
          if (!models[place]) return;
          const column = table.getColumn(`c${place}`);
          const isWanted = !wanted.model || models[place] === wanted.model;
          if (column.isVisible() !== isWanted) isWanted ? column.show() : column.hide();
        });
      }
      shown += table.getDataCount("active");
      total += rows.length;
    }
    one("output", form).textContent = total ? `${shown} of ${total} rows` : "";
  }

  // ---- One cell --------------------------------------------------------------------------------------------------

  let parsed = null;
  const content = () => (parsed ??= JSON.parse(one("#cell-data").textContent));

  const written = (value) => {
    if (value === null) return "none";
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value === "number") return Math.abs(value) >= 1e4 && Number.isInteger(value) ? value.toLocaleString("en") : String(value);
    return String(value);
  };

  // A nested mapping as lines of dotted names.
  function* lines(value, name = "") {
    if (value !== null && typeof value === "object") {
      const flat = Array.isArray(value) && value.every((item) => item === null || typeof item !== "object");
      if (flat) {
        yield [name, value.map(written).join(", ")];
        return;
      }
      const inside = Object.entries(value);
      if (!inside.length) yield [name, "none"];
      for (const [key, item] of inside) yield* lines(item, name ? `${name}.${key}` : key);
      return;
    }
    yield [name, written(value)];
  }

  function listing(title, value) {
    const { meaning } = content();
    const table = element("table");
    const body = table.createTBody();
    table.createCaption().textContent = title;
    for (const [name, text] of lines(value, title === "Seed" ? "seed" : "")) {
      const row = body.insertRow();
      const head = element("th", name);
      head.scope = "row";
      const [unit, doc] = meaning[name.split("/")[0]] ?? ["", ""];
      if (doc) head.title = doc;
      const cell = row.insertCell();
      row.prepend(head);
      cell.textContent = text;
      if (unit) cell.append(" ", element("span", unit, "unit"));
    }
    return table;
  }

  function curve([steps, losses]) {
    const svg = (tag, given, text = "") => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
      made.textContent = text;
      return made;
    };
    const known = losses.filter((loss) => loss !== null);
    if (known.length < 2) return element("p", "Too few finite losses for a curve.", "note");
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const [width, height, left, bottom] = [520, 150, 52, 20];
    const x = (place) => left + ((width - left - 8) * place) / (losses.length - 1);
    const y = (loss) => 8 + (height - bottom - 8) * (1 - (loss - low) / (high - low || 1));
    let path = "";
    let isDown = false;
    losses.forEach((loss, place) => {
      if (loss !== null) path += `${isDown ? "L" : "M"}${x(place).toFixed(1)} ${y(loss).toFixed(1)}`;
      isDown = loss !== null;
    });
    const label = `Training loss over ${steps} steps: from ${known[0].toPrecision(3)} to ${known.at(-1).toPrecision(3)}`;
    const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "curve", role: "img", "aria-label": label });
    drawn.append(
      svg("line", { x1: left, x2: width - 8, y1: height - bottom, y2: height - bottom }),
      svg("text", { x: left - 6, y: y(high) + 4, "text-anchor": "end" }, high.toPrecision(3)),
      svg("text", { x: left - 6, y: y(low) + 4, "text-anchor": "end" }, low.toPrecision(3)),
      svg("text", { x: left, y: height - 5 }, "step 1"),
      svg("text", { x: width - 8, y: height - 5, "text-anchor": "end" }, `step ${steps}`),
      svg("path", { d: path }),
    );
    return drawn;
  }

  const dialog = one("#cell");
  let opened = "";

  function show(key) {
    const { pool, axes, cells } = content();
    opened = key;
    const body = one(".body", dialog);
    body.replaceChildren();
    const cell = Object.hasOwn(cells, key) ? cells[key] : null;
    const names = cell ? cell.axes.map((place) => pool[place]) : [];
    one("#cell-title").textContent = cell ? [...names, `seed ${cell.seed}`].join(" · ") : "No such cell";
    if (!cell) {
      body.append(element("p", `This page has no cell ${key}.`));
    } else {
      const outcome = element("p", "", "note");
      outcome.append(`Outcome: ${cell.outcome.replaceAll("_", " ")}. Key: `, element("code", key), ".");
      body.append(outcome);
      if (!cell.parts.length) body.append(element("p", `There is no record yet: ${axes.map((axis, place) => `${axis} ${names[place]}`).join(", ")}.`));
      if (cell.curve) body.append(element("h3", "Training loss"), typeof cell.curve === "string" ? element("p", cell.curve, "note") : curve(cell.curve));
      const [parts, panels] = [element("div", "", "parts"), element("div", "", "panels")];
      const [outcomes, specs] = [element("div"), element("div")];
      for (const [title, place, values] of cell.parts) {
        const value = values ? Object.fromEntries(pool[place].map((name, at) => [name, values[at]])) : pool[place];
        const column = title.startsWith("Panel") ? panels : /^(Spec|Plan|Optimizer|Seed)/.test(title) ? specs : outcomes;
        column.append(listing(title, value));
      }
      parts.append(outcomes, specs);
      body.append(parts, panels);
    }
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  // The address is the state: a link to #cell-KEY opens the cell, the way back closes it.
  function follow() {
    const found = /^#cell-(.+)$/.exec(location.hash);
    if (found) show(found[1]);
    else if (dialog.open) dialog.close();
  }

  dialog.addEventListener("close", () => {
    if (location.hash.startsWith("#cell-")) history.replaceState(null, "", "#cells");
    // The library may have drawn the row anew meanwhile, and a new link has no focus to come back to.
    all("#cells .tabulator a").find((link) => link.hash === `#cell-${opened}`)?.focus({ preventScroll: true });
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  one(".close", dialog).addEventListener("click", () => dialog.close());
  addEventListener("hashchange", follow);

  // ---- Start -----------------------------------------------------------------------------------------------------

  for (const board of all(".board")) {
    const folded = board.closest("details:not([open])");
    // A table has no width while it is folded away.
    if (folded) folded.addEventListener("toggle", () => enhance(board), { once: true });
    else enhance(board);
  }
  for (const form of all("form.filters")) {
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => filter(form));
    form.addEventListener("reset", () => setTimeout(() => filter(form)));
  }
  for (const hint of all(".scripted")) hint.hidden = false;
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("main details:not([open])");
    for (const each of folded) each.open = true;
  });
  addEventListener("afterprint", () => { for (const each of folded) each.open = false; });
  follow();
})();
