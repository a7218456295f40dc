//! Options of parity row ST-30 and the memory that all databases of a process share.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel, Options,
    WriteBufferManager,
};

/// The options of `RocksDBOptions` (ST-30) that concern a database, with the same defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct RocksOptions {
    /// Bytes of a memtable. Default 64 MiB.
    pub write_buffer_size: usize,
    /// Bytes of a table file. Default 64 MiB.
    pub target_file_size_base: u64,
    /// Memtables per family before writes wait. Default 3.
    pub max_write_buffer_number: i32,
    /// Bytes of the block cache that all stores of the process share. Default 1 GiB. Used where
    /// the [`RocksMemory`] is made.
    pub block_cache_size: usize,
    /// Bits per key of the bloom filters, 0 for none. Default 10.
    pub bloom_filter_bits_per_key: u32,
    /// RocksDB's pipelined writes. Default off.
    pub enable_pipelined_write: bool,
    /// Compression of table files. Default lz4.
    pub compression: RocksCompression,
    /// Directory for write-ahead logs, with a folder per store partition in it. Default: beside
    /// the data.
    pub wal_dir: Option<PathBuf>,
    /// Bytes of write-ahead logs before memtables are flushed. Default 128 MiB.
    pub max_total_wal_size: u64,
    /// Directory for RocksDB's own log. Default: beside the data.
    pub db_log_dir: Option<PathBuf>,
    /// `fsync` instead of `fdatasync` where RocksDB syncs. Default true.
    pub use_fsync: bool,
    /// How often opening a locked store is tried again (ST-22). Default 10. For the runtime.
    pub open_max_retries: u32,
    /// Time between these tries. Default 3 s. For the runtime.
    pub open_retry_backoff: Duration,
    /// Whether a damaged store is deleted and restored from the changelog (ST-23). Default true.
    /// For the runtime.
    pub on_corrupted_recreate: bool,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            write_buffer_size: 64 << 20,
            target_file_size_base: 64 << 20,
            max_write_buffer_number: 3,
            block_cache_size: 1 << 30,
            bloom_filter_bits_per_key: 10,
            enable_pipelined_write: false,
            compression: RocksCompression::default(),
            wal_dir: None,
            max_total_wal_size: 128 << 20,
            db_log_dir: None,
            use_fsync: true,
            open_max_retries: 10,
            open_retry_backoff: Duration::from_secs(3),
            on_corrupted_recreate: true,
        }
    }
}

/// Compression of table files, by the names of ST-30.
///
/// ```
/// use millstream_state::RocksCompression;
/// assert_eq!("zstd".parse(), Ok(RocksCompression::Zstd));
/// assert!("lzma".parse::<RocksCompression>().unwrap_err().contains("lz4hc"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the methods")]
pub enum RocksCompression {
    None,
    Snappy,
    Zlib,
    Bz2,
    #[default]
    Lz4,
    Lz4hc,
    Zstd,
}

impl FromStr for RocksCompression {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "none" => Self::None,
            "snappy" => Self::Snappy,
            "zlib" => Self::Zlib,
            "bz2" => Self::Bz2,
            "lz4" => Self::Lz4,
            "lz4hc" => Self::Lz4hc,
            "zstd" => Self::Zstd,
            _ => {
                return Err(format!(
                    "unknown compression `{name}`: use none, snappy, zlib, bz2, lz4, lz4hc or zstd"
                ));
            }
        })
    }
}

/// Block cache and write buffers of all databases of a process, under one bound.
#[derive(Clone)]
pub struct RocksMemory {
    cache: Cache,
    buffers: WriteBufferManager,
}

impl RocksMemory {
    /// A bound of `bytes`. Half of it at most is write buffers: beyond that RocksDB flushes.
    pub fn new(bytes: usize) -> Self {
        let cache = Cache::new_lru_cache(bytes);
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            bytes / 2,
            false,
            cache.clone(),
        );
        Self { cache, buffers }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.cache.get_usage()
    }
}

impl fmt::Debug for RocksMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksMemory").field("used", &self.used()).finish()
    }
}

impl RocksOptions {
    /// The database's own options. `wal_dir` is the directory for this database.
    pub(super) fn database(&self, memory: &RocksMemory, wal_dir: Option<&PathBuf>) -> Options {
        let mut options = self.family(memory);
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_enable_pipelined_write(self.enable_pipelined_write);
        options.set_max_total_wal_size(self.max_total_wal_size);
        options.set_use_fsync(self.use_fsync);
        options.set_write_buffer_manager(&memory.buffers);
        // A process may have hundreds of databases: bounded files, short logs, no statistics.
        options.set_max_open_files(512);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(1 << 20);
        options.set_log_level(LogLevel::Warn);
        options.set_stats_dump_period_sec(0);
        if let Some(directory) = wal_dir {
            options.set_wal_dir(directory);
        }
        if let Some(directory) = &self.db_log_dir {
            options.set_db_log_dir(directory);
        }
        options
    }

    /// The options of one column family.
    pub(super) fn family(&self, memory: &RocksMemory) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&memory.cache);
        // Index and filters count against the bound too.
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        if self.bloom_filter_bits_per_key > 0 {
            table.set_bloom_filter(f64::from(self.bloom_filter_bits_per_key), false);
        }
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_size(self.write_buffer_size);
        options.set_target_file_size_base(self.target_file_size_base);
        options.set_max_write_buffer_number(self.max_write_buffer_number);
        options.set_compression_type(match self.compression {
            RocksCompression::None => DBCompressionType::None,
            RocksCompression::Snappy => DBCompressionType::Snappy,
            RocksCompression::Zlib => DBCompressionType::Zlib,
            RocksCompression::Bz2 => DBCompressionType::Bz2,
            RocksCompression::Lz4 => DBCompressionType::Lz4,
            RocksCompression::Lz4hc => DBCompressionType::Lz4hc,
            RocksCompression::Zstd => DBCompressionType::Zstd,
        });
        options
    }
}
