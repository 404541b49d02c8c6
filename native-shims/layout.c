/* Prints sizes and offsets of the kernel structures that the TypeScript lays out by hand, as JSON. Linux only. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/stat.h>
#include <stddef.h>
#include <stdio.h>

#define SIZE(name, type) printf("\"%s\": %zu,\n", name, sizeof(type))
#define AT(name, type, member) printf("\"%s\": %zu,\n", name, offsetof(type, member))

int main(void) {
  printf("{\n");
  SIZE("params.bytes", struct io_uring_params);
  AT("params.sqEntries", struct io_uring_params, sq_entries);
  AT("params.cqEntries", struct io_uring_params, cq_entries);
  AT("params.flags", struct io_uring_params, flags);
  AT("params.sqThreadIdle", struct io_uring_params, sq_thread_idle);
  AT("params.features", struct io_uring_params, features);
  AT("params.sqHead", struct io_uring_params, sq_off.head);
  AT("params.sqTail", struct io_uring_params, sq_off.tail);
  AT("params.sqMask", struct io_uring_params, sq_off.ring_mask);
  AT("params.sqFlags", struct io_uring_params, sq_off.flags);
  AT("params.sqArray", struct io_uring_params, sq_off.array);
  AT("params.cqHead", struct io_uring_params, cq_off.head);
  AT("params.cqTail", struct io_uring_params, cq_off.tail);
  AT("params.cqMask", struct io_uring_params, cq_off.ring_mask);
  AT("params.cqCqes", struct io_uring_params, cq_off.cqes);
  SIZE("sqe.bytes", struct io_uring_sqe);
  AT("sqe.opcodeAndFlags", struct io_uring_sqe, opcode);
  AT("sqe.descriptor", struct io_uring_sqe, fd);
  AT("sqe.offsetLow", struct io_uring_sqe, off);
  AT("sqe.addressLow", struct io_uring_sqe, addr);
  AT("sqe.length", struct io_uring_sqe, len);
  AT("sqe.operationFlags", struct io_uring_sqe, rw_flags);
  AT("sqe.userDataLow", struct io_uring_sqe, user_data);
  AT("sqe.bufferIndex", struct io_uring_sqe, buf_index);
  SIZE("cqe.bytes", struct io_uring_cqe);
  AT("cqe.userDataLow", struct io_uring_cqe, user_data);
  AT("cqe.result", struct io_uring_cqe, res);
  SIZE("rsrcRegister.bytes", struct io_uring_rsrc_register);
  SIZE("rsrcUpdate2.bytes", struct io_uring_rsrc_update2);
  SIZE("filesUpdate.bytes", struct io_uring_files_update);
  SIZE("statx.bytes", struct statx);
  AT("statx.mask", struct statx, stx_mask);
  AT("statx.mode", struct statx, stx_mode);
  AT("statx.inode", struct statx, stx_ino);
  AT("statx.size", struct statx, stx_size);
  AT("statx.deviceMajor", struct statx, stx_dev_major);
  AT("statx.deviceMinor", struct statx, stx_dev_minor);
#ifdef STATX_DIOALIGN
  AT("statx.directMemoryAlignment", struct statx, stx_dio_mem_align);
  AT("statx.directOffsetAlignment", struct statx, stx_dio_offset_align);
#endif
#ifdef STATX_WRITE_ATOMIC
  AT("statx.atomicWriteMin", struct statx, stx_atomic_write_unit_min);
  AT("statx.atomicWriteMax", struct statx, stx_atomic_write_unit_max);
#endif
  printf("\"op.WRITEV\": %d,\n", IORING_OP_WRITEV);
  printf("\"op.FSYNC\": %d,\n", IORING_OP_FSYNC);
  printf("\"op.READ_FIXED\": %d,\n", IORING_OP_READ_FIXED);
  printf("\"op.WRITE_FIXED\": %d,\n", IORING_OP_WRITE_FIXED);
  printf("\"op.FALLOCATE\": %d,\n", IORING_OP_FALLOCATE);
  printf("\"op.READ\": %d,\n", IORING_OP_READ);
  printf("\"op.WRITE\": %d,\n", IORING_OP_WRITE);
  printf("\"fcntl.O_DIRECT\": %d\n}\n", O_DIRECT);
  return 0;
}
