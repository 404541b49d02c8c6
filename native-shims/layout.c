/* Prints sizes and offsets of the kernel structures that the TypeScript lays out by hand, as JSON. Linux only. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/stat.h>
#include <stddef.h>
#include <stdio.h>

#define SIZE(name, type) printf("\"%s\": %zu,\n", name, sizeof(type))
#define AT(name, type, member) printf("\"%s\": %zu,\n", name, offsetof(type, member))
#define BIT(name, bit) printf("\"%s\": %u,\n", name, (unsigned)(bit))

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
  AT("statx.blockSize", struct statx, stx_blksize);
  AT("statx.attributes", struct statx, stx_attributes);
  AT("statx.links", struct statx, stx_nlink);
  AT("statx.uid", struct statx, stx_uid);
  AT("statx.gid", struct statx, stx_gid);
  AT("statx.mode", struct statx, stx_mode);
  AT("statx.inode", struct statx, stx_ino);
  AT("statx.size", struct statx, stx_size);
  AT("statx.blocks", struct statx, stx_blocks);
  AT("statx.attributesMask", struct statx, stx_attributes_mask);
  AT("statx.accessTime", struct statx, stx_atime);
  AT("statx.birthTime", struct statx, stx_btime);
  AT("statx.changeTime", struct statx, stx_ctime);
  AT("statx.modifyTime", struct statx, stx_mtime);
  AT("statx.specialMajor", struct statx, stx_rdev_major);
  AT("statx.specialMinor", struct statx, stx_rdev_minor);
  AT("statx.deviceMajor", struct statx, stx_dev_major);
  AT("statx.deviceMinor", struct statx, stx_dev_minor);
  BIT("statxMask.basic", STATX_BASIC_STATS);
  BIT("statxMask.birthTime", STATX_BTIME);
#ifdef STATX_MNT_ID
  AT("statx.mountId", struct statx, stx_mnt_id);
  BIT("statxMask.mountId", STATX_MNT_ID);
#endif
#ifdef STATX_DIOALIGN
  AT("statx.directMemoryAlignment", struct statx, stx_dio_mem_align);
  AT("statx.directOffsetAlignment", struct statx, stx_dio_offset_align);
  BIT("statxMask.directAlignment", STATX_DIOALIGN);
#endif
#ifdef STATX_SUBVOL
  AT("statx.subvolume", struct statx, stx_subvol);
  BIT("statxMask.subvolume", STATX_SUBVOL);
#endif
#ifdef STATX_WRITE_ATOMIC
  AT("statx.atomicWriteMin", struct statx, stx_atomic_write_unit_min);
  AT("statx.atomicWriteMax", struct statx, stx_atomic_write_unit_max);
  AT("statx.atomicWriteSegments", struct statx, stx_atomic_write_segments_max);
  BIT("statxMask.atomicWrites", STATX_WRITE_ATOMIC);
  BIT("statxAttribute.atomicWrites", STATX_ATTR_WRITE_ATOMIC);
#endif
  BIT("statxAttribute.compressed", STATX_ATTR_COMPRESSED);
  BIT("statxAttribute.immutable", STATX_ATTR_IMMUTABLE);
  BIT("statxAttribute.appendOnly", STATX_ATTR_APPEND);
  BIT("statxAttribute.noDump", STATX_ATTR_NODUMP);
  BIT("statxAttribute.encrypted", STATX_ATTR_ENCRYPTED);
  BIT("statxAttribute.automount", STATX_ATTR_AUTOMOUNT);
  BIT("statxAttribute.mountRoot", STATX_ATTR_MOUNT_ROOT);
  BIT("statxAttribute.verity", STATX_ATTR_VERITY);
  BIT("statxAttribute.dax", STATX_ATTR_DAX);
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
