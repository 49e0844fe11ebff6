// What the C library asks of the machine it runs on. There is little: memory, and one file that the user has given.

const no_such_file = -44,
  bad_descriptor = 8,
  success = 0,
  page_bytes = 65536;
const file_descriptor = 3;

// The one file: its name and its bytes. read() moves `at`.
export const file = { name: '', bytes: new Uint8Array(0), at: 0 };

// The functions that a module compiled by Emscripten imports. `memory` gives its memory once there is one.
export function system(memory) {
  const view = () => new DataView(memory().buffer);
  const text = (at) => {
    const bytes = new Uint8Array(memory().buffer, at);
    return new TextDecoder().decode(bytes.slice(0, bytes.indexOf(0)));
  };
  const refuse = () => bad_descriptor;

  function read(descriptor, vectors, count, read_at) {
    if (descriptor !== file_descriptor) return bad_descriptor;
    let sum = 0;
    for (let k = 0; k < count; ++k) {
      const to = view().getUint32(vectors + 8 * k, true),
        wanted = view().getUint32(vectors + 8 * k + 4, true);
      const part = file.bytes.subarray(file.at, file.at + wanted);
      new Uint8Array(memory().buffer).set(part, to);
      file.at += part.length;
      sum += part.length;
    }
    view().setUint32(read_at, sum, true);
    return success;
  }

  function seek(descriptor, offset, whence, position_at) {
    if (descriptor !== file_descriptor) return bad_descriptor;
    const from = [0, file.at, file.bytes.length][whence];
    file.at = Math.min(Math.max(from + Number(offset), 0), file.bytes.length);
    view().setBigUint64(position_at, BigInt(file.at), true);
    return success;
  }

  // struct stat: the mode says that it is a file, and the size how long it is.
  function stat(path, to) {
    if (text(path) !== file.name) return no_such_file;
    const regular = 0x8000,
      mode_at = 12,
      size_at = 40,
      whole = 88;
    new Uint8Array(memory().buffer, to, whole).fill(0);
    view().setUint32(to + mode_at, regular | 0o444, true);
    view().setBigUint64(to + size_at, BigInt(file.bytes.length), true);
    return success;
  }

  function open(path) {
    if (text(path) !== file.name) return no_such_file;
    file.at = 0;
    return file_descriptor;
  }

  // More memory, a fifth more than is asked for, so that it is not asked for again soon.
  function grow(wanted) {
    const most = 2 ** 31 - page_bytes;
    for (const bytes of [Math.max(wanted, memory().buffer.byteLength * 1.2), wanted]) {
      try {
        memory().grow(Math.ceil((Math.min(bytes, most) - memory().buffer.byteLength) / page_bytes));
        return memory().buffer.byteLength >= wanted ? 1 : 0;
      } catch {
        continue;
      }
    }
    return 0;
  }

  return {
    env: {
      __syscall_open: open,
      __syscall_stat64: stat,
      __syscall_fcntl64: () => success,
      __syscall_ioctl: () => no_such_file,
      emscripten_memcpy_big: (to, from, bytes) => {
        new Uint8Array(memory().buffer).copyWithin(to, from, from + bytes);
        return to; // an array in its place would be turned into a number, by way of a text as long as the memory
      },
      emscripten_resize_heap: grow,
      strftime_l: () => 0,
      abort: () => {
        throw new Error('fewbit: the program has stopped; load the page again');
      },
    },
    wasi_snapshot_preview1: {
      environ_sizes_get: (count, bytes) => {
        view().setUint32(count, 0, true);
        view().setUint32(bytes, 0, true);
        return success;
      },
      environ_get: () => success,
      fd_close: () => success,
      fd_read: read,
      fd_seek: seek,
      fd_write: refuse,
    },
  };
}
