/**
 * Take what is dropped anywhere on the page. Without this, browsers leave the page for whatever is dropped.
 * @param {HTMLElement} hint shown while a file is held above the page
 * @param {(file: File | null) => void} onfile told of the first file dropped; of null where there was none
 */
export function acceptDrops(hint, onfile) {
  const holdsFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes('Files') ?? false;
  addEventListener('dragover', (event) => {
    // A field takes texts itself.
    if (isField(event.target) && !holdsFiles(event)) return;
    event.preventDefault();
    hint.hidden = !holdsFiles(event);
  });
  addEventListener('dragleave', (event) => {
    // The pointer has left the window, and not just one element for another.
    if (!event.relatedTarget) hint.hidden = true;
  });
  addEventListener('drop', (event) => {
    if (isField(event.target) && !holdsFiles(event)) return;
    event.preventDefault();
    hint.hidden = true;
    onfile(event.dataTransfer?.files[0] ?? null);
  });
}

/** @param {EventTarget | null} target */
function isField(target) {
  return target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement;
}
