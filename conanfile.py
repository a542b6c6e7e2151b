import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rmdir

required_conan_version = ">=2.0"


class VarveConan(ConanFile):
    name = "varve"
    description = "An embeddable, durable commit log"
    license = "MIT"
    topics = ("commit-log", "write-ahead-log", "event-store", "durability")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {
        "shared": [True, False],
        "fPIC": [True, False],
        "with_cli": [True, False],
        "with_compress": [True, False],
    }
    default_options = {"shared": False, "fPIC": True, "with_cli": False, "with_compress": False}
    implements = ["auto_shared_fpic"]
    exports_sources = "CMakeLists.txt", "cmake/*", "include/*", "src/*", "LICENSE"

    def set_version(self):
        header = load(self, os.path.join(self.recipe_folder, "include/varve/version.hpp"))
        self.version = re.search(r'VARVE_VERSION_STRING "([^"]+)"', header).group(1)

    def layout(self):
        cmake_layout(self)

    def validate(self):
        check_min_cppstd(self, 20)

    def requirements(self):
        self.requires("fmt/[>=9 <12]")
        # Only its header, and only by our sources.
        self.requires("xxhash/[>=0.8.1 <1]", headers=True, libs=False)
        if self.options.with_cli:
            self.requires("cli11/[>=2.1 <3]")
            self.requires("nlohmann_json/[>=3.11 <4]")
        if self.options.with_compress:
            self.requires("lz4/[>=1.9 <2]")
            self.requires("snappy/[>=1.1 <2]")
            self.requires("zlib/[>=1.2.11 <2]")
            self.requires("zstd/[>=1.4 <2]")

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["VARVE_BUILD_CLI"] = bool(self.options.with_cli)
        toolchain.cache_variables["VARVE_WITH_COMPRESS"] = bool(self.options.with_compress)
        toolchain.cache_variables["VARVE_BUILD_TESTS"] = False
        toolchain.cache_variables["VARVE_BUILD_EXAMPLES"] = False
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        # Conan writes its own.
        rmdir(self, os.path.join(self.package_folder, "lib", "cmake"))
        rmdir(self, os.path.join(self.package_folder, "lib", "pkgconfig"))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "varve")
        core = self.cpp_info.components["core"]
        core.set_property("cmake_target_name", "varve::core")
        core.set_property("pkg_config_name", "varve")
        core.libs = ["varve"]
        core.requires = ["fmt::fmt", "xxhash::xxhash"]
        if self.options.with_cli:
            core.requires += ["cli11::cli11", "nlohmann_json::nlohmann_json"]
        if self.options.shared:
            core.defines = ["VARVE_SHARED"]
        if self.settings.os in ("Linux", "FreeBSD"):
            core.system_libs = ["pthread"]
        if self.options.with_compress:
            compress = self.cpp_info.components["compress"]
            compress.set_property("cmake_target_name", "varve::compress")
            compress.set_property("pkg_config_name", "varve-compress")
            compress.libs = ["varve_compress"]
            compress.requires = ["core", "lz4::lz4", "snappy::snappy", "zlib::zlib", "zstd::zstd"]
            if self.options.shared:
                compress.defines = ["VARVE_SHARED"]
