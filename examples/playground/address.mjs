// The view in the address of the page: #demo?bits=4&scheme=linear, the question that native.cpp answers too.

export function readAddress(url) {
  const hash = new URL(url).hash.slice(1);
  const [tab, view = ''] = hash.split(/\?(.*)/s);
  return { tab, view };
}

// Written some time after the last change: browsers refuse to have it changed all the time.
let waiting = 0;
export function writeAddress(tab, view) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const hash = `#${tab}?${view}`;
    if (location.hash !== hash) history.replaceState(null, '', hash);
  }, 200);
}

// What a form says, as a view: what is switched off in it is left out.
export function viewOf(form) {
  return new URLSearchParams(new FormData(form)).toString();
}

// Sets a form to a view. A value that a list lacks is added to it, so that the address is taken at its word.
export function setView(form, view) {
  form.reset();
  for (const [key, value] of new URLSearchParams(view)) {
    const field = form.elements.namedItem(key);
    if (!field) continue;
    if (field instanceof HTMLSelectElement && ![...field.options].some((o) => o.value === value))
      field.add(new Option(value, value));
    field.value = value;
  }
}
