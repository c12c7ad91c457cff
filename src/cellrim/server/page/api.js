// Requests to the server. Whatever goes wrong becomes an Error whose message is for people.

const BASE = "v1/workspace";

const SILENT = "The server does not answer. Is “cellrim serve” still running, and is the network up?";
const LOCKED =
  "The server wants its token. Open the address again with ?token=… as it was printed at the start.";

export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function failure(response) {
  if (response.status === 401) return new ServerError(LOCKED, 401);
  let detail = "";
  try {
    detail = (await response.json()).detail ?? "";
  } catch {
    // not a problem document: the status has to do
  }
  return new ServerError(detail || `The server answered ${response.status}.`, response.status);
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(SILENT, 0);
  }
  if (!response.ok) throw await failure(response);
  return response;
}

const json = async (path, options) => (await ask(path, options)).json();

const send = (method, path, body) =>
  json(path, {
    method,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

function query(values) {
  const known = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
  return known.length ? `?${new URLSearchParams(known)}` : "";
}

export const models = () => json("v1/models");
export const space = () => json("v1/space");
export const forms = () => json(`${BASE}/forms`);
export const status = (id) => json(`${BASE}/images/${id}`);
export const remove = (id) => ask(`${BASE}/images/${id}`, { method: "DELETE" });
export const sample = (options) => json(`${BASE}/sample${query(options)}`, { method: "POST" });
export const segment = (id, options) =>
  json(`${BASE}/images/${id}/segment${query(options)}`, { method: "POST" });
export const sliders = (id, values) => send("PATCH", `${BASE}/images/${id}`, values);
export const cells = (id) => json(`${BASE}/images/${id}/cells`);
export const edit = (id, what) => send("POST", `${BASE}/images/${id}/edits`, what);
export const learning = () => json(`${BASE}/learning`);
export const addToSet = (id) => send("POST", `${BASE}/learning/images`, { id });
export const takeFromSet = (id) => json(`${BASE}/learning/images/${id}`, { method: "DELETE" });
export const removeModel = (name) => json(`${BASE}/learning/models/${name}`, { method: "DELETE" });
export const train = (model, minutes) => send("POST", `${BASE}/learning/training`, { model, minutes });
export const stopTraining = () => json(`${BASE}/learning/training`, { method: "DELETE" });
export const viewAddress = (id, values = {}) => `${BASE}/images/${id}/view${query(values)}`;

export async function view(id, values) {
  return createImageBitmap(await (await ask(viewAddress(id, values))).blob());
}

export async function labels(id) {
  const response = await ask(`${BASE}/images/${id}/labels`);
  const wide = response.headers.get("X-Bytes-Per-Label") === "4";
  const data = await response.arrayBuffer();
  return wide ? new Uint32Array(data) : new Uint16Array(data);
}

export async function result(id, format) {
  return (await ask(`${BASE}/images/${id}/result${query({ format })}`)).blob();
}

export function unpackLabels(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Uint32Array(bytes.buffer);
}

// An upload tells how far it is, which fetch cannot.
export function upload(file, options, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${BASE}/images${query(options)}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded / Math.max(event.total, 1));
    request.onerror = () => reject(new ServerError(SILENT, 0));
    request.onload = () => {
      if (request.status < 300) return resolve(request.response);
      const text = request.status === 401 ? LOCKED : request.response?.detail;
      reject(new ServerError(text || `The server answered ${request.status}.`, request.status));
    };
    const form = new FormData();
    form.append("image", file, file.name);
    request.send(form);
  });
}
