// Tables: a click on a head sorts, a button copies what can be pasted into a spreadsheet.
const UNITS = { ns: 1e-9, "µs": 1e-6, ms: 1e-3, s: 1 };
function worth(text) {
  const found = /^[~<]?\s*(−?-?[\d.,]+)\s*(ns|µs|ms|s)?\b/.exec(text);
  return found ? Number(found[1].replace("−", "-").replaceAll(",", "")) * (UNITS[found[2]] ?? 1) : -Infinity;
}

function sortable(table) {
  const body = table.tBodies[0], original = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const name = head.textContent, numbers = column >= WORDS;
    head.replaceChildren(element("button", { type: "button", title: `Sort by ${name}`, onclick: () => {
      const former = head.getAttribute("aria-sort"), next = { descending: numbers ? "ascending" : null, ascending: numbers ? null : "descending" };
      const order = former ? next[former] : numbers ? "descending" : "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      if (order) head.setAttribute("aria-sort", order);
      const text = row => row.cells[column].textContent, sign = order === "descending" ? -1 : 1;
      const by = numbers ? (a, b) => worth(text(a)) - worth(text(b)) : (a, b) => text(a).localeCompare(text(b));
      body.append(...(order ? [...original].sort((a, b) => sign * by(a, b)) : original));
    } }, name));
  });
  // As in nfold's CSV: a text that a spreadsheet would compute has a ' before it.
  const cell = text => /^\s*[=+\-@＝＋－＠]/.test(text) && !/^[+-]?[\d.]+( %)?$/.test(text) ? `'${text}` : text;
  const button = element("button", { type: "button", className: "copy", onclick: async () => {
    const lines = [...table.rows].map(row => [...row.cells].map(one => cell(one.textContent)).join("\t")).join("\n");
    button.textContent = await copied(lines) ? "Copied" : "Not copied: select the table instead";
    setTimeout(() => { button.textContent = "Copy table"; }, 1500);
  } }, "Copy table");
  table.closest(".wide").after(button);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // not allowed here: the old way
    const area = element("textarea", { value: text, style: "position: fixed; opacity: 0" });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
