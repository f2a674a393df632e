//! Repositories that mean harm, or were written in a hurry.
